"""The places that wire parts together: for the service, and for the commands."""

"""The metrics of the service. Labels have few values, and accounts are never among them."""

"""Traces by OpenTelemetry: made only where an endpoint is set, and nothing of the library is loaded otherwise."""

"""Traces by OpenTelemetry: only if an endpoint is set; otherwise the library is not imported."""

"""The use cases of the service: load, decide, store; and the ports that its adapters implement."""

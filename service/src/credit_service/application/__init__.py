"""What the service does with the rules: load, decide, store; and the ports that its adapters fill."""

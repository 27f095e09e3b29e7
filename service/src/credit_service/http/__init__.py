"""What the service answers over HTTP: accounts to read, health, metrics."""

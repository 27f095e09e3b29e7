"""What several commands share: options, settings, connections, output and errors."""

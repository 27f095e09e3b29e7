"""The command line `credits`."""

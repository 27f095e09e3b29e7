"""`credits open`: bring an existing customer base in from a file."""

"""`credits tokens`: make and list the tokens of the read API."""

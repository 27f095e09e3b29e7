"""`credits replay`: read a range of the incoming topics again."""

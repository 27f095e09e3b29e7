"""`credits explain`: where a balance comes from, as a tree or as JSON."""

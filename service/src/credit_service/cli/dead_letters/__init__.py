"""`credits dead-letters`: list, show, retry, discard and erase dead letters."""

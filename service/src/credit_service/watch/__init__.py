"""Self-observation: the backlog, the progress, and the end of a process that is stuck."""

"""What the watch, the metrics and the doctor ask of the database, each for a bounded time.

Nothing is locked or written.
"""

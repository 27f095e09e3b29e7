"""Commands of operators, which go the way of every event: one `execute` for all of them.

The purpose of a command is known to its own package (`refunds`, `adjustments`, `opening`), and not here.
"""

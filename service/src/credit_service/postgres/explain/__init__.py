"""The rows of explanations, out of one snapshot each.

Nothing is locked or written.
"""

"""Dead letters: what is kept of a message that could not be decided, and the desk at which people end it.

A retry goes through `processing`, as the message would have. Nothing here decides about credits.
"""

"""Dead letters: messages that could not be decided, and the desk at which operators end them.

A retry goes through `processing`, as the message would have gone. Nothing here decides about credits.
"""

"""Reads a range of the incoming topics again, and gives messages that were never decided to `processing`.

It moves no stored offset and joins no group.
"""

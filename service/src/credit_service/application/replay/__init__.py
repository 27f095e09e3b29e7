"""Reads a range of the incoming topics once more, and hands to `processing` what was never decided.

It moves no stored offset and joins no group.
"""

"""Reads ranges of topics again, by consumers outside the service's group.

The offsets of the service do not change.
"""

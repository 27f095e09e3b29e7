"""Ranges of topics, read once more by consumers that are in no group.

Nothing of the service's reading is touched.
"""

"""The reads of a reconciliation, in one snapshot, and the writes of a repair.

A repair writes under its account's lock, and never an entry.
"""

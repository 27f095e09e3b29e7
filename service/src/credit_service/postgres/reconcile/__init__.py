"""The ledger as a reconciliation reads it, in one snapshot, and what a repair writes.

A repair writes under its account's lock, and never an entry.
"""

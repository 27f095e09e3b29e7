"""Fetches partitions, each by itself, and unpacks their batches within a bound.

It knows no group and no ledger; `consume`, `publish` and `ranges` read through it.
"""

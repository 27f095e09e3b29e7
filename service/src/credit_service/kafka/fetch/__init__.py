"""Reads partitions, each by itself: batches unpacked within a bound, records and portions of a chain.

It knows no group and no ledger; `consume`, `publish` and `ranges` read through it.
"""

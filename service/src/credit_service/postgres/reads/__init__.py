"""Read-only queries on the ledger: each answer is one consistent snapshot.

They lock and write nothing.
"""

"""The ledger's transactions: accounts locked and loaded, sets written, offsets and outbox with them.

No rule is decided here; constraints hold what the domain promises.
"""

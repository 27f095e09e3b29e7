"""The ledger's transactions: lock and load accounts, write sets of rows, with the offsets and the outbox.

They decide no rule; constraints in the database repeat the domain's promises.
"""

"""The member of the consumer group: partitions come and go, records are fetched, read and handed over in a chain.

Nothing is decided here; stored offsets are the ledger's.
"""

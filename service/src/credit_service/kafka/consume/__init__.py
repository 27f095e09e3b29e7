"""The consumer group: partitions are assigned and revoked, their records buffered, decided in batches, and chained.

The rules of credit are not here; the stored offsets are the ledger's.
"""

"""The relay: rows of the outbox become Kafka transactions, each event once.

It never changes what an event says.
"""

"""The relay: rows of the outbox become Kafka transactions, each event once.

It never changes the content of an event.
"""

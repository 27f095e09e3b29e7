"""Kafka: incoming records are read and merged by event time, outgoing ones are published exactly once."""

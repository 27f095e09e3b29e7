"""Kafka: what comes in is merged by event time, what goes out is published exactly once."""

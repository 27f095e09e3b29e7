"""The access that Kafka grants, and the members of the group: requested from brokers at intervals.

Nothing in Kafka is changed.
"""

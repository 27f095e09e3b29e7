"""The access that Kafka grants, and the members of the group: requested from brokers now and then.

Nothing in Kafka is changed.
"""

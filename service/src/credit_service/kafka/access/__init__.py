"""What Kafka lets this deployment do, and who is in its group: asked of the brokers, and watched.

It changes nothing in Kafka.
"""

"""How this deployment reaches Kafka: addresses, names, logins that may change, and connections that go on.

Every client of aiokafka's is made here; it says why it is not let in, and decides nothing about credits.
"""

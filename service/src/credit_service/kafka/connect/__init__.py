"""The connections to Kafka: addresses, names, logins that may change, and the reasons of failures.

All of aiokafka's clients are created here.
"""

"""What any process of the service needs to run: the log, the event loop, TLS, programs that print secrets.

It knows nothing of credits, of Kafka or of Postgres, and imports nothing of the service but `bounds`.
"""

"""The runtime of every process: log, event loop, TLS, failpoints, and programs that print secrets.

It has no code about credits, Kafka or Postgres, and imports no module of the service but `bounds`.
"""

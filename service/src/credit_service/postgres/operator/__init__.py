"""What people's desks read and write: dead letters, refund requests, adjustments, operations, rows set aside.

Balances change in `postgres.ledger` alone.
"""

"""Reads and writes of the operators' desks: dead letters, refund requests, adjustments, operations, rows set aside.

Only `postgres.ledger` changes balances.
"""

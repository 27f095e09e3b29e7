"""Brings an existing customer base in: rows read from files, each to its answer.

Rows become commands; nothing here writes an account.
"""

"""Brings in an existing customer base: rows are read from files, and each gets an answer.

Rows become commands; nothing here writes an account.
"""

"""Refund requests as people see them, and the desk at which they are decided.

The rules of refunds are in `domain`; what a decision does to a balance goes through `commands`.
"""

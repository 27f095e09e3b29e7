"""Refund requests as operators see them, and the desk at which they are decided.

The rules of refunds are in `domain`; a decision changes a balance through `commands`.
"""

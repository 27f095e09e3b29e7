"""The ledger to those who only look: each answer is one consistent snapshot.

Nothing is locked or written.
"""

"""Holds topics, decisions, ledger and published events against each other, and repairs what a person agreed to.

It decides nothing anew: `domain.audit` folds what was recorded. No entry is ever changed.
"""

"""Compares topics, decisions, ledger and published events, and repairs what an operator has agreed to.

It decides nothing anew: `domain.audit` recomputes from what was recorded. No entry is ever changed.
"""

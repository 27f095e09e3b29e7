"""Explains a balance, now or in the past: from its entries down to the messages.

It reads recorded entries and decisions only, never the columns that decisions depend on.
"""

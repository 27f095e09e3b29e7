"""Tokens of the read API: what each opens.

Tokens are kept and compared as hashes only.
"""

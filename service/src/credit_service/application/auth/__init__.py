"""The tokens of the read API, and the scopes that each of them grants.

Tokens are kept and compared as hashes only.
"""

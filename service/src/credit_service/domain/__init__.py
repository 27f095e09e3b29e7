"""The rules of credit, pure: no await, no clock, no randomness, no logging.

Start with `decide`; each rule then has a file of its own.
"""

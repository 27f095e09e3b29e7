"""The doctor of a deployment: facts, the checks that judge them, and their report.

Checks are pure functions of facts; `kafka` and `postgres` provide the facts. Nothing is repaired here.
"""

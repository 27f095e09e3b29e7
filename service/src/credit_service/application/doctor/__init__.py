"""Looks at everything that has to be well: facts, the checks that judge them, and their report.

Checks are pure functions of facts; `kafka` and `postgres` bring the facts. Nothing is mended here.
"""

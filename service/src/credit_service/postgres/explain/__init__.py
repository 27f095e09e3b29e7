"""Reads of explanations, each from one snapshot.

They lock and write nothing.
"""

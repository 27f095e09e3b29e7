"""Queries of the watch, the metrics and the doctor, each for a bounded time.

They lock and write nothing.
"""

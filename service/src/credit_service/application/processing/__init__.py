"""The way of every event: merged in order, loaded, decided by `domain` and stored, in one transaction.

It reads no topic and writes no table itself: `kafka` and `postgres` do, behind the ports of `application`. Commands of
operators begin in `application.commands`.
"""

"""Orders of people, which go the way of every event: one `execute` under all of them.

What an order is for stands beside it (`refunds`, `adjustments`, `opening`); nothing here knows which it is.
"""

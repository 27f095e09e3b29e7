"""The audit: reads an account's recorded history, replays it by the same rules, and compares the two.

`history` is what the ledger keeps, `steps` turns it into inputs, `recompute` replays them, `differences` compares. The
rest of `domain` never imports this package.
"""

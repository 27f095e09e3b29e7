"""An account's recorded decisions, folded once more by the same rules, and where the record disagrees.

Pure, as all of `domain`; the rest of it never imports this.
"""

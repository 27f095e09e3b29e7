"""Why a balance is what it is, or was: answers from entries down to messages.

It reads only what was recorded, and never the columns that deciding goes by.
"""

"""Which partition an account's events belong to."""

from functools import lru_cache

from credit_contracts.topics import partition_for

ACCOUNTS_REMEMBERED = 16_384

# In Python the hash takes longer than most of what is done for an event, and a few accounts bring most of the events.
account_partition = lru_cache(maxsize=ACCOUNTS_REMEMBERED)(partition_for)

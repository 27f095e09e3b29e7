"""The partition of an account's events."""

from functools import lru_cache

from credit_contracts.topics import partition_for

ACCOUNTS_REMEMBERED = 16_384

# In Python the hash takes longer than most other steps for an event, and a few accounts have most of the events.
account_partition = lru_cache(maxsize=ACCOUNTS_REMEMBERED)(partition_for)

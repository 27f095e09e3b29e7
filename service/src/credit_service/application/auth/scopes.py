"""What a token may open; by itself, so that the list of commands is there at once."""

from enum import StrEnum


class Scope(StrEnum):
    """What a token may open, named after what it reads."""

    ACCOUNTS = "accounts:read"
    ENTRIES = "entries:read"
    DECISIONS = "decisions:read"

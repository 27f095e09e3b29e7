"""The scopes of tokens, in a module of their own, so that the list of commands loads quickly."""

from enum import StrEnum


class Scope(StrEnum):
    """A part of the read API that a token may read."""

    ACCOUNTS = "accounts:read"
    ENTRIES = "entries:read"
    DECISIONS = "decisions:read"

"""The numbers of an account: what might need more of them than there are is refused before it is decided."""

from credit_service import bounds
from credit_service.domain.account import Account

ACCOUNTS_MAX = 2**31 - 1
"""Accounts that the ledger can number. Beyond it the database opens none, and what is told of one is a dead letter."""

FILLING = 0.8
"""So much of a number used is time to have the customer go on under another account."""


def is_full(account: Account) -> bool:
    """Whether what comes next might not fit."""
    return _has_used(account, bounds.ACCOUNT_NUMBERS_MAX, bounds.ACCOUNT_CREDITS_MAX)


def is_filling(account: Account) -> bool:
    """Whether a person should be told of it."""
    return _has_used(account, bounds.ACCOUNT_NUMBERS_MAX * FILLING, bounds.ACCOUNT_CREDITS_MAX * FILLING)


def _has_used(account: Account, numbers: float, credits_held: float) -> bool:
    return (
        account.position >= numbers
        or account.sequence >= numbers
        or account.last_grant_id >= numbers
        or account.balance >= credits_held
    )

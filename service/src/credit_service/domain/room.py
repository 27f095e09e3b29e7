"""The limits of an account's numbers: an input that might exceed them is refused before it is decided."""

from credit_service import bounds
from credit_service.domain.account import Account

ACCOUNTS_MAX = 2**31 - 1
"""The accounts that the ledger can number. Beyond it, an event of a new account becomes a dead letter."""

FILLING = 0.8
"""The share of a number in use from which the customer should move to another account."""


def is_full(account: Account) -> bool:
    """Whether the numbers of the next decision might not fit."""
    return _has_used(account, bounds.ACCOUNT_NUMBERS_MAX, bounds.ACCOUNT_CREDITS_MAX)


def is_filling(account: Account) -> bool:
    """Whether an operator should be warned."""
    return _has_used(account, bounds.ACCOUNT_NUMBERS_MAX * FILLING, bounds.ACCOUNT_CREDITS_MAX * FILLING)


def _has_used(account: Account, numbers: float, credits_held: float) -> bool:
    return (
        account.position >= numbers
        or account.sequence >= numbers
        or account.last_grant_id >= numbers
        or account.balance >= credits_held
    )

"""The limits of an account's numbers: an input that might exceed them is refused before it is decided."""

from credit_service import bounds
from credit_service.domain.account import Account

ACCOUNTS_MAX = 2**31 - 1
"""The accounts that the ledger can number. Beyond it, an event of a new account becomes a dead letter."""

FILLING = 0.8
"""The share of a number in use from which the customer should move to another account."""


def is_full(account: Account, share: float = 1) -> bool:
    """Whether the numbers of the next decision might not fit into that share of the limits."""
    numbers = bounds.ACCOUNT_NUMBERS_MAX * share
    return (
        account.position >= numbers
        or account.sequence >= numbers
        or account.last_grant_id >= numbers
        or account.balance >= bounds.ACCOUNT_CREDITS_MAX * share
    )


def is_filling(account: Account) -> bool:
    """Whether an operator should be warned."""
    return is_full(account, FILLING)

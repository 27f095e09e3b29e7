"""Adjustments: credits that an operator gives or takes, as goodwill or to correct a mistake."""

from datetime import datetime

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.command import Adjust, CommandRefusal
from credit_service.domain.decision import Adjustment, Outcome
from credit_service.domain.event import Cause
from credit_service.domain.grant import first_to_burn

CREDITS_MAX = 10**9
"""The most credits of one adjustment; a plan grants no more in a month."""


def refuse_adjustment(account: Account, data: Adjust, now: datetime) -> CommandRefusal | None:
    """The reason why the credits cannot be given or taken; None if they can. The balance never falls below zero."""
    if not account.has_started:
        return "not-open"
    if data.expires_at is not None and data.expires_at <= now:
        return "expired"
    return "below-zero" if account.balance + data.amount < 0 else None


def adjust(account: Account, data: Adjust, cause: Cause, batch: Batch) -> Outcome:
    """Gives credits as a grant of their own, or takes them from the grants in the order in which they burn.

    On an unlimited plan the grants change as well, and no balance is published.
    """
    if data.amount > 0:
        grant = account.open_grant("adjustment", data.amount, batch.now, data.expires_at, cause)
        lines = [(grant.grant_id, data.amount)]
    else:
        lines = _take(account, -data.amount)
    batch.out.adjustments.append(
        Adjustment(account.account_id, cause.position, data.amount, data.expires_at, data.operator, data.reason)
    )
    account.record("adjustment", cause, lines, batch)
    return "adjusted"


def _take(account: Account, wanted: int) -> list[tuple[int, int]]:
    lines = []
    while wanted and (grant := first_to_burn(account.grants.values())):
        taken = min(wanted, grant.remaining)
        account.take_from(grant, taken)
        lines.append((grant.grant_id, -taken))
        wanted -= taken
    return lines

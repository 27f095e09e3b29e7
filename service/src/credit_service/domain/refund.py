"""Gives the credit of one charge back, once, to the grant that it came from."""

from datetime import timedelta
from typing import Literal

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.event import Cause
from credit_service.domain.grant import Grant
from credit_service.domain.prospect import Charge
from credit_service.domain.rules import LateRefund


def give_back(account: Account, charge: Charge, cause: Cause, batch: Batch) -> Literal["refunded", "forfeited"]:
    """Records the refund of `charge`; forfeited if its grant is closed and late refunds are forfeit.

    The refund of a charge that took no grant (unlimited) is recorded without credits.
    """
    charge.is_settled = True
    lines = []
    if charge.grant_id is not None:
        home = account.grants.get(charge.grant_id)
        if home is not None:
            account.give_back_to(home)
        else:
            home = _late_home(account, cause, batch.rules.late_refund)
            if home is None:
                return "forfeited"
        lines.append((home.grant_id, 1))
    charge.refund_sequence = account.record("refund", cause, lines, batch, refunds_sequence=charge.sequence)
    return "refunded"


def _late_home(account: Account, cause: Cause, late_refund: LateRefund) -> Grant | None:
    """Adds one credit to the refund grant with the right expiry, or opens that grant.

    Refunds that live for `days` end at midnight and share a grant: otherwise each credit would be a grant of its own,
    and each expiry a decision.
    """
    if late_refund.kind == "forfeit" or account.period is None or account.calendar is None:
        return None
    expires_at = account.period.ends_at
    if expires_at <= cause.occurred_at:
        # Decided without the timers that are due: this period is over already.
        expires_at = account.calendar.period_at(cause.occurred_at).ends_at
    if late_refund.kind == "days":
        lives_until = max(cause.occurred_at, account.period.starts_at) + timedelta(days=late_refund.days)
        expires_at = account.calendar.day_ends_at(lives_until)
    for grant in account.grants.values():
        if grant.origin == "refund" and grant.expires_at == expires_at:
            account.enlarge(grant)
            return grant
    return account.open_grant("refund", 1, cause.occurred_at, expires_at, cause)

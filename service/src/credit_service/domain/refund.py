"""A bounced e-mail gives the credit of its prospect back, once, to the grant it came from."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from credit_service.domain.account import Account
from credit_service.domain.decision import Cause, Decided, Outcome
from credit_service.domain.grant import Grant
from credit_service.domain.prospect import Prospect


@dataclass(frozen=True, slots=True)
class LateRefund:
    """Where a refund goes when its grant has expired.

    `current-period`: a grant that ends with the period; `days`: one that lives for `days`; `forfeit`: nowhere.
    """

    kind: Literal["current-period", "days", "forfeit"] = "current-period"
    days: int = 0


def refund_bounce(
    account: Account,
    prospect_id: str,
    cause: Cause,
    now: datetime,
    late_refund: LateRefund,
    out: Decided,
) -> Outcome:
    """Refunds the charge that is alive; a bounce of a prospect never seen is remembered until a charge comes.

    Nothing happens for a prospect that was never charged for (imported), or whose credit came back already.
    """
    prospect = account.prospects.get(prospect_id)
    if prospect is None or prospect.origin is None:
        if prospect is None:
            account.prospects[prospect_id] = Prospect(prospect_id, bounce=cause)
            account.touched_prospects.add(prospect_id)
        return "awaiting-charge"
    if not prospect.charge_alive:
        return "no-effect"
    return "refunded" if give_back(account, prospect, cause, now, late_refund, out) else "forfeited"


def give_back(
    account: Account,
    prospect: Prospect,
    cause: Cause,
    now: datetime,
    late_refund: LateRefund,
    out: Decided,
) -> bool:
    """Records the refund of the charge that is alive; False if its grant is gone and refunds are then forfeit.

    The refund of a charge that took no grant (unlimited) is recorded with no credits in it.
    """
    previous_balance = account.published_balance
    lines = []
    if prospect.charge_grant_id is not None:
        home = account.grants.get(prospect.charge_grant_id)
        if home is not None:
            home.remaining += 1
            account.balance += 1
            account.touched_grants[home.grant_id] = home
        else:
            home = _late_home(account, cause, late_refund)
            if home is None:
                return False
        lines.append((home.grant_id, 1))
    prospect.refund_sequence = account.record(
        out, "refund", cause, lines, previous_balance, now, refunds_sequence=prospect.charge_sequence
    )
    account.touched_prospects.add(prospect.prospect_id)
    return True


def _late_home(account: Account, cause: Cause, late_refund: LateRefund) -> Grant | None:
    """One credit more in the refund grant with the right expiry, which is opened if there is none."""
    if late_refund.kind == "forfeit" or account.period is None:
        return None
    expires_at = account.period.ends_at
    if late_refund.kind == "days":
        expires_at = max(cause.occurred_at, account.period.starts_at) + timedelta(days=late_refund.days)
    for grant in account.grants.values():
        if grant.origin == "refund" and grant.expires_at == expires_at:
            grant.amount += 1
            grant.remaining += 1
            account.balance += 1
            account.touched_grants[grant.grant_id] = grant
            return grant
    grant = account.grant("refund", 1, cause.occurred_at, expires_at, cause)
    account.reschedule()
    return grant

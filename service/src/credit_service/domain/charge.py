"""One credit for a prospect that comes onto the account."""

from datetime import datetime

from credit_service.domain.account import Account
from credit_service.domain.decision import Cause, Decided, Outcome
from credit_service.domain.grant import first_to_burn
from credit_service.domain.prospect import Prospect, ProspectOrigin
from credit_service.domain.refund import LateRefund, give_back


def bring_onto_account(
    account: Account,
    prospect_id: str,
    origin: ProspectOrigin,
    cause: Cause,
    now: datetime,
    late_refund: LateRefund,
    out: Decided,
) -> Outcome:
    """Charges for a prospect that is not on the account yet.

    Free if it is on the account already; declined if no grant has a credit left, and it is then not on the account.
    On an unlimited plan the charge is recorded and takes no grant. A bounce that came before is refunded at once.
    """
    prospect = account.prospects.get(prospect_id)
    if prospect is not None and prospect.on_account:
        return "free"
    previous_balance = account.published_balance
    grant = None
    if not account.unlimited:
        grant = first_to_burn(account.grants.values())
        if grant is None:
            account.declined_in_period += 1
            return "declined"
        grant.remaining -= 1
        account.balance -= 1
        account.touched_grants[grant.grant_id] = grant
    sequence = account.record(out, "charge", cause, [(grant.grant_id, -1)] if grant else [], previous_balance, now)
    bounce = prospect.bounce if prospect else None
    account.prospects[prospect_id] = charged = Prospect(
        prospect_id, origin, sequence, grant.grant_id if grant else None
    )
    account.touched_prospects.add(prospect_id)
    if bounce is not None:
        give_back(account, charged, bounce, now, late_refund, out)
    return "charged"

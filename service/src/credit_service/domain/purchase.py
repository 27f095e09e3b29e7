"""Adds bought credits: a grant of their own, which does not lapse with the month's grant."""

from credit_contracts.incoming import CreditsPurchased
from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.decision import Outcome
from credit_service.domain.event import Cause

PURCHASE_KNOWN = "this purchase was counted before, under another id"


def add_purchase(account: Account, data: CreditsPurchased, cause: Cause, batch: Batch) -> tuple[Outcome, str | None]:
    """Grants the bought credits; a `purchase_id` counts once for each account, whatever the event's id.

    On an unlimited plan they are granted as well, and are used once the plan is limited.
    """
    if data.purchase_id in account.purchases:
        return "no-effect", PURCHASE_KNOWN
    account.add_purchase(data.purchase_id, cause)
    grant = account.open_grant("purchase", data.credits, cause.occurred_at, data.expires_at, cause)
    account.record("purchase", cause, [(grant.grant_id, data.credits)], batch)
    return "purchased", None

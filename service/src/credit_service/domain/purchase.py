"""Credits that were bought once: a grant of their own beside the month's, which does not lapse with it."""

from credit_contracts.incoming import CreditsPurchased
from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.decision import Outcome
from credit_service.domain.event import Cause

PURCHASE_KNOWN = "this purchase was counted before, under another id"


def add_purchase(account: Account, data: CreditsPurchased, cause: Cause, batch: Batch) -> tuple[Outcome, str | None]:
    """Grants what was bought, until it expires; a `purchase_id` counts once an account, whatever the event's id.

    Beneath an unlimited plan it is granted as well, and waits there.
    """
    if data.purchase_id in account.purchases:
        return "no-effect", PURCHASE_KNOWN
    account.add_purchase(data.purchase_id, cause)
    grant = account.open_grant("purchase", data.credits, cause.occurred_at, data.expires_at, cause)
    account.record("purchase", cause, [(grant.grant_id, data.credits)], batch)
    return "purchased", None

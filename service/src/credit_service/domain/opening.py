"""Opens an account of an existing customer with its state elsewhere, without its past."""

from datetime import datetime

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.command import CommandRefusal, OpenAccount, OpenProspect, OpenPurchase
from credit_service.domain.event import EARLIEST, Cause
from credit_service.domain.period import Calendar
from credit_service.domain.plan import Plan
from credit_service.domain.prospect import Charge
from credit_service.domain.settle import settle

LONG_AGO = EARLIEST
"""The time at which an opened prospect came onto its account: before any event of it."""

OPENING = "opening"

GONE_GRANT = 0
"""The id for the grant of a charge from before the ledger; no such grant is ever open."""


def refuse_opening(
    account: Account, data: OpenAccount | OpenPurchase | OpenProspect, now: datetime
) -> CommandRefusal | None:
    """The reason why the ledger refuses the opening; None if it accepts it."""
    match data:
        case OpenAccount():
            return "has-a-plan" if account.has_started else None
        case _ if not account.has_started:
            return "not-open"
        case OpenPurchase(purchase_id=purchase_id, expires_at=expires_at):
            if purchase_id in account.purchases:
                return "purchase-known"
            return "expired" if expires_at is not None and expires_at <= now else None
        case OpenProspect(prospect_id=prospect_id):
            prospect = account.prospects.get(prospect_id)
            # A closed history may have had a stay.
            is_known = prospect is not None and (prospect.closed_until is not None or bool(prospect.stays()))
            return "prospect-known" if is_known else None


def track_opening(account: Account, *, leaves_open: bool, has_opened: bool, now: datetime) -> None:
    """Has other inputs of the account wait until its opening is complete; a repeated opening begins no wait."""
    if not leaves_open:
        account.set_opening(None)
    elif has_opened and account.opening_since is None:
        account.set_opening(now)


def open_account(account: Account, data: OpenAccount, cause: Cause, batch: Batch) -> None:
    """Puts the plan in force in the current month, with the credits that are left of that month.

    The whole allowance counts as granted in this month, so that a plan change grants only the difference.
    """
    period = account.start(Calendar(data.anchor_at, data.time_zone), batch.now)
    plan = Plan(data.plan_id, data.monthly_credits, data.seats, data.email_accounts, batch.now, cause)
    account.add_plan(plan)
    account.put_in_force(plan)
    account.count_as_granted(plan.allowance)
    lines = []
    if data.remaining:
        grant = account.open_grant("opening", data.remaining, batch.now, period.ends_at, cause)
        lines.append((grant.grant_id, data.remaining))
    if lines or account.unlimited:
        account.record("opening", cause, lines, batch, was_unlimited=False)


def open_purchase(account: Account, data: OpenPurchase, cause: Cause, batch: Batch) -> None:
    """Grants the credits left of a purchase; a later event of the same purchase has no effect."""
    account.add_purchase(data.purchase_id, cause)
    grant = account.open_grant("purchase", data.remaining, batch.now, data.expires_at, cause)
    account.record("opening", cause, [(grant.grant_id, data.remaining)], batch)


def open_prospect(account: Account, data: OpenProspect, cause: Cause, batch: Batch) -> None:
    """Puts a prospect on the account; the charge from before the ledger can be refunded like any late charge."""
    prospect = account.prospect(data.prospect_id)
    brought_by = Cause(cause.position, cause.source, cause.id, f"prospect-{data.origin}", LONG_AGO, data.prospect_id)
    if data.origin != "imported":
        # Its sequence is negative: charges of the ledger have the positive sequence of their entry.
        grant_id = None if account.unlimited else GONE_GRANT
        prospect.charges.append(Charge(-cause.position, grant_id, LONG_AGO))
    prospect.record_event(brought_by)
    settle(account, prospect, cause, batch)
    prospect.forget()

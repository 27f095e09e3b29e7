"""What each event about a prospect comes to."""

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.charge import take_credit
from credit_service.domain.decision import Outcome
from credit_service.domain.event import Cause
from credit_service.domain.prospect import Prospect
from credit_service.domain.settle import TOO_LATE, Settled, record_event


def bring_onto_account(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """A prospect was generated or exported: charged, unless it is on the account already.

    Declined if no grant has a credit left, and it is then not on the account. A bounce that came before is refunded
    at once.
    """
    if prospect_id in account.prospects:
        outcome = record_event(account, prospect_id, cause, batch).of(cause) or "free"
    else:
        outcome = _bring_on_new(account, prospect_id, cause, batch)
    if outcome == "declined":
        account.count_decline()
    return outcome


def _bring_on_new(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """What `record_event` comes to where nothing was told before, without asking: most events are of this kind."""
    prospect = Prospect(prospect_id, [cause])
    if take_credit(account, prospect, cause, batch) is None:
        return "declined"
    account.add_prospect(prospect)
    return "charged"


def import_prospect(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """A prospect came from the customer's own database: it is on the account and costs nothing.

    If that occurred before it was charged for, the charge is given back.
    """
    settled = record_event(account, prospect_id, cause, batch)
    stay = settled.stay_at(cause.occurred_at)
    is_new = stay is not None and stay.brought_by is cause
    return settled.of(cause) or ("imported" if is_new else "no-effect")


def delete_prospect(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """A prospect's history on the account is wiped: no refund, and bringing it on again costs again.

    Of a prospect not on the account it is remembered, for what may have brought it on and comes late.
    """
    settled = record_event(account, prospect_id, cause, batch)
    if settled.of(cause) == TOO_LATE:
        return TOO_LATE
    has_ended = any(stay.ended_by is cause for stay in settled.stays)
    return "deleted" if has_ended else "no-effect"


def bounce_email(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """An e-mail bounced for good: refunds the charge that was alive then, once.

    Of a prospect never seen it is remembered until a charge comes. Nothing happens for one that was imported, or
    deleted before.
    """
    return _effect_or_waiting(account, prospect_id, cause, record_event(account, prospect_id, cause, batch))


def report_wrong_email(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """A prospect's e-mail was found to be wrong: asks a person whether to refund the charge, once a charge.

    Only for what was charged and not given back; of a prospect never seen it is remembered as a bounce is.
    """
    return _effect_or_waiting(account, prospect_id, cause, record_event(account, prospect_id, cause, batch))


def _effect_or_waiting(account: Account, prospect_id: str, cause: Cause, settled: Settled) -> Outcome:
    if (effect := settled.of(cause)) is not None:
        return effect
    return "no-effect" if settled.stays or account.prospects[prospect_id].was_deleted else "awaiting-charge"

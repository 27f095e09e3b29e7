"""The rules of the events of a prospect."""

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.charge import take_credit
from credit_service.domain.decision import Outcome
from credit_service.domain.event import Cause
from credit_service.domain.prospect import Prospect
from credit_service.domain.settle import TOO_LATE, Settled, record_event


def bring_onto_account(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """Charges a prospect that was generated or exported, unless it is on the account already.

    The charge is declined if no grant has a credit left; the prospect is then not on the account. If its bounce came
    before, the charge is refunded at once.
    """
    if prospect_id in account.prospects:
        outcome = record_event(account, prospect_id, cause, batch).of(cause) or "free"
    else:
        outcome = _bring_on_new(account, prospect_id, cause, batch)
    if outcome == "declined":
        account.count_decline()
    return outcome


def _bring_on_new(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """Does what `record_event` would do for an unknown prospect, and faster: most events are of this kind."""
    prospect = Prospect(prospect_id, [cause])
    if take_credit(account, prospect, cause, batch) is None:
        return "declined"
    account.add_prospect(prospect)
    return "charged"


def import_prospect(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """Brings on a prospect from the customer's own database, at no cost.

    If it was imported before it was charged, the charge is refunded.
    """
    settled = record_event(account, prospect_id, cause, batch)
    stay = settled.stay_at(cause.occurred_at)
    is_new = stay is not None and stay.brought_by is cause
    return settled.of(cause) or ("imported" if is_new else "no-effect")


def delete_prospect(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """Takes a prospect off the account: no refund, and bringing it on again costs again.

    The delete of a prospect that is not on the account is kept, since the event that brought it on may come late.
    """
    settled = record_event(account, prospect_id, cause, batch)
    if settled.of(cause) == TOO_LATE:
        return TOO_LATE
    has_ended = any(stay.ended_by is cause for stay in settled.stays)
    return "deleted" if has_ended else "no-effect"


def bounce_email(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """Refunds, once, the charge of the stay in which an e-mail bounced for good.

    The bounce of an unknown prospect is kept until a charge comes. It has no effect if the prospect was imported, or
    deleted before.
    """
    return _effect_or_waiting(account, prospect_id, cause, record_event(account, prospect_id, cause, batch))


def report_wrong_email(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Outcome:
    """Opens a refund request, once for each charge, since a prospect's e-mail is wrong.

    Only a charge that was not refunded gets one. The event of an unknown prospect is kept as a bounce is.
    """
    return _effect_or_waiting(account, prospect_id, cause, record_event(account, prospect_id, cause, batch))


def _effect_or_waiting(account: Account, prospect_id: str, cause: Cause, settled: Settled) -> Outcome:
    if (effect := settled.of(cause)) is not None:
        return effect
    return "no-effect" if settled.stays or account.prospects[prospect_id].was_deleted else "awaiting-charge"

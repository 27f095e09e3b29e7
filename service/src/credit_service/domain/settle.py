"""Makes the charges of a prospect follow its history: each stay that costs is charged once, and refunded once.

A late event may split a stay in two, or show that a prospect was imported before it was charged. The charges are then
corrected: each prospect ends as if all events had come in order of occurrence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.charge import take_credit
from credit_service.domain.decision import Outcome
from credit_service.domain.event import Cause
from credit_service.domain.prospect import Charge, Prospect, Stay
from credit_service.domain.refund import give_back
from credit_service.domain.refund_request import request_refund

TOO_LATE: Outcome = "too-late"
"""The outcome of an event whose stay is closed: too many events have followed, and its history was forgotten."""


@dataclass(slots=True)
class Settled:
    """The result of settling: the present stays, and the outcome of each cause with an effect, by position."""

    stays: list[Stay] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def of(self, cause: Cause) -> Outcome | None:
        """The outcome of `cause`; None if it had no effect."""
        return self.outcomes.get(cause.position)

    def stay_at(self, at: datetime) -> Stay | None:
        """The stay to which an event that occurred `at` belongs."""
        return next((stay for stay in self.stays if stay.holds(at)), None)


def record_event(account: Account, prospect_id: str, cause: Cause, batch: Batch) -> Settled:
    """Adds `cause` to the prospect's history and settles it; an event of a closed stay has no effect."""
    prospect = account.prospect(prospect_id)
    if prospect.is_closed_at(cause.occurred_at):
        return Settled(prospect.stays(), {cause.position: TOO_LATE})
    prospect.record_event(cause)
    settled = settle(account, prospect, cause, batch)
    prospect.forget()
    if not prospect.history and prospect.closed_until is None:
        account.forget(prospect_id)
    return settled


def settle(account: Account, prospect: Prospect, cause: Cause, batch: Batch) -> Settled:
    """Charges and refunds what is due. A declined charge removes its cause from the history."""
    account.mark_changed(prospect.prospect_id)
    settled = Settled(prospect.stays())
    forfeited: list[Charge] = []
    if prospect.charges:
        forfeited = _release_strays(account, prospect, settled.stays, cause, batch)
    for stay in settled.stays:
        charge = prospect.charge_of(stay)
        if stay.origin == "imported":
            if charge is not None and not charge.is_settled:
                settled.outcomes[cause.position] = _give_back(account, charge, cause, batch)
                if charge.refund_sequence is not None:
                    prospect.void(charge)
            continue
        if charge is None and forfeited:
            charge = forfeited.pop(0)
            charge.at = stay.brought_by.occurred_at
        if charge is None:
            charge = take_credit(account, prospect, stay.brought_by, batch)
            if charge is None:
                prospect.drop(stay)
                rest = settle(account, prospect, cause, batch)
                return Settled(rest.stays, settled.outcomes | {stay.brought_by.position: "declined"} | rest.outcomes)
            settled.outcomes[stay.brought_by.position] = "charged"
        if charge.is_settled:
            continue
        if stay.bounce is not None:
            settled.outcomes[stay.bounce.position] = _give_back(account, charge, stay.bounce, batch)
            if charge.refund_sequence is not None:
                charge.at = stay.bounce.occurred_at
        elif stay.wrong_email is not None and not charge.is_requested:
            request_refund(account, prospect, charge, stay.wrong_email, batch)
            settled.outcomes[stay.wrong_email.position] = "refund-requested"
    return settled


def _release_strays(
    account: Account, prospect: Prospect, stays: Sequence[Stay], cause: Cause, batch: Batch
) -> list[Charge]:
    """Refunds the charges that belong to no stay any more, since a late delete split theirs.

    The stay that remains is then charged anew. Returns the charges whose refund is forfeited, which pay for that.
    """
    forfeited = []
    for stray in prospect.strays(stays):
        if not stray.is_settled:
            _give_back(account, stray, cause, batch)
        if stray.refund_sequence is None:
            forfeited.append(stray)
        else:
            prospect.void(stray)
    return forfeited


def _give_back(account: Account, charge: Charge, due: Cause, batch: Batch) -> Outcome:
    """Refunds the charge; a request that waits for that is overtaken."""
    if charge.is_requested:
        batch.out.requests_overtaken.append((account.account_id, charge.sequence))
    return give_back(account, charge, due, batch)

"""What an account knows of one prospect: what it was told, the stays that this amounts to, and what was charged."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from credit_service import bounds
from credit_service.domain.decision import Cause

ProspectOrigin = Literal["generated", "exported", "imported"]

ORIGIN_OF: dict[str, ProspectOrigin] = {
    "prospect-generated": "generated",
    "prospect-exported": "exported",
    "prospect-imported": "imported",
}
BOUNCED, DELETED = "email-bounced", "prospect-deleted"


@dataclass(slots=True)
class Charge:
    """What one stay cost. `sequence` is negative for a charge from before the ledger.

    `grant_id` None: made on an unlimited plan. `at` tells which stay it belongs to: when what was charged occurred, or
    what gave it back. `is_settled`: nothing is to be given back any more. `is_requested`: a person was asked once.
    """

    sequence: int
    grant_id: int | None
    at: datetime
    refund_sequence: int | None = None
    is_settled: bool = False
    is_requested: bool = False


@dataclass(slots=True)
class Stay:
    """From what brings a prospect onto the account up to its delete; `after` is the delete before it.

    `bounce` and `wrong_email` are the first of their kind in it.
    """

    brought_by: Cause
    after: datetime | None
    bounce: Cause | None = None
    wrong_email: Cause | None = None
    ended_by: Cause | None = None

    @property
    def origin(self) -> ProspectOrigin:
        """What came first counts: a prospect that is imported later stays generated, and the other way round."""
        return ORIGIN_OF[self.brought_by.type]

    @property
    def ended_at(self) -> datetime | None:
        """When it was deleted; None while the prospect is on the account."""
        return self.ended_by.occurred_at if self.ended_by else None

    def holds(self, at: datetime) -> bool:
        """Whether what occurred `at` belongs to it: to the first one also what occurred before it."""
        has_begun = self.after is None or at >= self.brought_by.occurred_at
        return has_begun and (self.ended_by is None or at <= self.ended_by.occurred_at)


@dataclass(slots=True)
class Prospect:
    """One prospect; `told` in order of occurrence, whatever the order of arrival.

    `stays_past` counts the stays that are no longer told of, and those that proved to be none.
    """

    prospect_id: str
    told: list[Cause] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    stays_past: int = 0

    @property
    def was_deleted(self) -> bool:
        """Whether a delete was told."""
        return any(told.type == DELETED for told in self.told)

    def tell(self, cause: Cause) -> None:
        """Puts what is new in its place among what was told before; bounded."""
        if self.told and self.told[-1].order > cause.order:
            insort(self.told, cause, key=lambda told: told.order)
        else:
            self.told.append(cause)
        while len(self.told) > bounds.TOLD_MAX:
            self._forget()

    def charge_of(self, stay: Stay) -> Charge | None:
        """What the stay cost; None if it was not charged yet."""
        for charge in self.charges:
            if stay.holds(charge.at):
                return charge
        return None

    def strays(self, stays: Sequence[Stay]) -> list[Charge]:
        """The charges that belong to none of `stays`, since a delete came late."""
        return [charge for charge in self.charges if not any(stay.holds(charge.at) for stay in stays)]

    def void(self, charge: Charge) -> None:
        """Forgets a charge that was given back because it belongs to no stay that costs something."""
        self.charges.remove(charge)
        self.stays_past += 1

    def drop(self, stay: Stay) -> None:
        """Untells what brought the prospect on, since it could not be covered."""
        self.told.remove(stay.brought_by)
        self.stays_past += 1

    def _forget(self) -> None:
        over = next((n for n, told in enumerate(self.told[:-1]) if told.type == DELETED), None)
        if over is None:
            del self.told[1]
            return
        until = self.told[over].occurred_at
        self.stays_past += len(stays_of(self.told[: over + 1]))
        self.charges = [charge for charge in self.charges if charge.at > until]
        del self.told[: over + 1]


def stays_of(told: Sequence[Cause]) -> list[Stay]:
    """The stays that come of what was told, in order of occurrence.

    Only what comes first in a stay brings the prospect on; the rest is free. A bounce belongs to the stay that it
    falls into; before anything was known of the prospect, to its first one; after a delete, to none.
    """
    stays: list[Stay] = []
    now: Stay | None = None
    bounce = wrong_email = None
    deleted_at = None
    for cause in told:
        if cause.type in ORIGIN_OF:
            if now is None:
                now = Stay(cause, deleted_at, bounce, wrong_email)
                stays.append(now)
        elif cause.type == DELETED:
            if now is not None:
                now.ended_by = cause
            now = bounce = wrong_email = None
            deleted_at = cause.occurred_at
        elif now is not None:
            if cause.type == BOUNCED:
                now.bounce = now.bounce or cause
            else:
                now.wrong_email = now.wrong_email or cause
        elif deleted_at is None:
            if cause.type == BOUNCED:
                bounce = bounce or cause
            else:
                wrong_email = wrong_email or cause
    return stays

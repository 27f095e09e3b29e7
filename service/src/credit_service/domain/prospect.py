"""What an account knows of one prospect: what it was told, the stays that this amounts to, and what was charged."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from credit_service import bounds
from credit_service.domain.event import Cause

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
    """One prospect; `history` in order of occurrence, whatever the order of arrival.

    `stays_past` counts the stays that are no longer told of, and those that proved to be none. `closed_until`: what
    occurred up to then is settled for good, and what is told of it comes too late; None while all is kept.
    """

    prospect_id: str
    history: list[Cause] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    stays_past: int = 0
    closed_until: datetime | None = None

    @property
    def was_deleted(self) -> bool:
        """Whether a delete was told."""
        return self.closed_until is not None or any(told.type == DELETED for told in self.history)

    def stays(self) -> list[Stay]:
        """The stays that are not closed, in order of occurrence."""
        return stays_of(self.history, self.closed_until)

    def is_closed_at(self, at: datetime) -> bool:
        """Whether what occurred `at` is settled for good."""
        return self.closed_until is not None and at <= self.closed_until

    def record_event(self, cause: Cause) -> None:
        """Puts what is new in its place among what was told before; `forget` keeps it bounded, once it is settled."""
        if self.history and self.history[-1].order > cause.order:
            insort(self.history, cause, key=lambda told: told.order)
        else:
            self.history.append(cause)

    def forget(self) -> None:
        """Keeps what was told within its bound: the oldest repeat goes first, then the oldest stays are closed.

        The stays that are left stay as they are, with what they cost. One that has no end is never closed.
        """
        while len(self.history) > bounds.TOLD_MAX:
            repeat = _first_repeat(self.history)
            if repeat is not None:
                del self.history[repeat]
                continue
            end = next((told.occurred_at for told in self.history if told.type == DELETED), None)
            if end is None:
                return
            self._close(end)

    def charge_of(self, stay: Stay) -> Charge | None:
        """What the stay cost; None if it was not charged yet."""
        for charge in self.charges:
            if stay.holds(charge.at):
                return charge
        return None

    def strays(self, stays: Sequence[Stay]) -> list[Charge]:
        """The charges that belong to none of `stays`, since a delete came late, nor to one that is closed."""
        return [
            charge
            for charge in self.charges
            if not self.is_closed_at(charge.at) and not any(stay.holds(charge.at) for stay in stays)
        ]

    def void(self, charge: Charge) -> None:
        """Forgets a charge that was given back because it belongs to no stay that costs something."""
        self.charges.remove(charge)
        self.stays_past += 1

    def drop(self, stay: Stay) -> None:
        """Untells what brought the prospect on, since it could not be covered."""
        self.history.remove(stay.brought_by)
        self.stays_past += 1

    def _close(self, until: datetime) -> None:
        """Settles what occurred up to then for good. A request that still waits has all that its decision needs.

        Only what was charged before the ledger has no entry to tell where its credit goes: it is kept for that.
        """
        stays = self.stays()
        strays = [charge for charge in self.strays(stays) if charge.at <= until]
        left = [stay for stay in stays if stay.ended_at is None or stay.ended_at > until]
        # A row that shows no stay any more, or no stray, counts as another one: it has not got the same charge.
        self.stays_past += len(stays) - len(left) + len(strays) + (bool(stays) and not left)
        self.charges = [
            charge
            for charge in self.charges
            if charge.at > until or (charge.sequence < 0 and charge.is_requested and not charge.is_settled)
        ]
        self.history = [told for told in self.history if told.occurred_at > until]
        self.closed_until = until


def _first_repeat(told: Sequence[Cause]) -> int | None:
    """The place of the oldest report on which no stay depends; None if there is none.

    From one delete to the next these are no repeats: what brings the prospect on, first and last, since a delete that
    comes late may part the stay; the first bounce and the first wrong e-mail, of those before it and of those from then
    on; and the last report.
    """
    begin = 0
    for end in [*(n for n, cause in enumerate(told) if cause.type == DELETED), len(told)]:
        places = range(begin, end)
        brought = [n for n in places if told[n].type in ORIGIN_OF]
        firsts: dict[tuple[str, bool], int] = {}
        for n in places:
            if told[n].type not in ORIGIN_OF:
                firsts.setdefault((told[n].type, bool(brought) and n > brought[0]), n)
        needed = {*brought[:1], *brought[-1:], *firsts.values(), *places[-1:]}
        repeat = next((n for n in places if n not in needed), None)
        if repeat is not None:
            return repeat
        begin = end + 1
    return None


def stays_of(told: Sequence[Cause], closed_until: datetime | None = None) -> list[Stay]:
    """The stays that come of what was told, in order of occurrence.

    Only what comes first in a stay brings the prospect on; the rest is free. A bounce belongs to the stay that it
    falls into; before anything was known of the prospect, to its first one; after a delete, to none. `closed_until` is
    a delete that is not told of any more.
    """
    stays: list[Stay] = []
    now: Stay | None = None
    bounce = wrong_email = None
    deleted_at = closed_until
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

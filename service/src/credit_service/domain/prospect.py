"""One prospect of an account: the history of its events, the stays that follow from it, and their charges."""

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
    """The charge of one stay. `sequence` is negative for a charge from before the ledger.

    `grant_id` None: made on an unlimited plan. `at` assigns it to a stay: the time of the event that was charged, or
    that refunded it. `is_settled`: it is not refunded any more. `is_requested`: a refund request was opened.
    """

    sequence: int
    grant_id: int | None
    at: datetime
    refund_sequence: int | None = None
    is_settled: bool = False
    is_requested: bool = False


@dataclass(slots=True)
class Stay:
    """The time that a prospect is on the account, up to its delete; `after` is the time of the delete before it.

    `bounce` and `wrong_email` are the first events of their kind in it.
    """

    brought_by: Cause
    after: datetime | None
    bounce: Cause | None = None
    wrong_email: Cause | None = None
    ended_by: Cause | None = None

    @property
    def origin(self) -> ProspectOrigin:
        """The first event counts: a prospect that is imported later stays generated, and the other way round."""
        return ORIGIN_OF[self.brought_by.type]

    @property
    def ended_at(self) -> datetime | None:
        """The time of its delete; None while the prospect is on the account."""
        return self.ended_by.occurred_at if self.ended_by else None

    def holds(self, at: datetime) -> bool:
        """Whether an event that occurred `at` belongs to it; the first stay has the events before it as well."""
        has_begun = self.after is None or at >= self.brought_by.occurred_at
        return has_begun and (self.ended_by is None or at <= self.ended_by.occurred_at)


@dataclass(slots=True)
class Prospect:
    """One prospect; `history` is in order of occurrence, whatever the order of arrival.

    `stays_past` counts the stays that were closed, and the charges and causes that were removed. `closed_until`: events
    up to then are settled for good, and later ones of that time come too late; None while the whole history is kept.
    """

    prospect_id: str
    history: list[Cause] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    stays_past: int = 0
    closed_until: datetime | None = None

    @property
    def was_deleted(self) -> bool:
        """Whether the history has, or had, a delete."""
        return self.closed_until is not None or any(cause.type == DELETED for cause in self.history)

    def stays(self) -> list[Stay]:
        """The stays that are not closed, in order of occurrence."""
        return stays_of(self.history, self.closed_until)

    def is_closed_at(self, at: datetime) -> bool:
        """Whether an event that occurred `at` is settled for good."""
        return self.closed_until is not None and at <= self.closed_until

    def record_event(self, cause: Cause) -> None:
        """Inserts the event into the history; `forget` keeps the history bounded once the prospect is settled."""
        if self.history and self.history[-1].order > cause.order:
            insort(self.history, cause, key=lambda other: other.order)
        else:
            self.history.append(cause)

    def forget(self) -> None:
        """Keeps the history within its bound: removes the oldest repeats, then closes the oldest stays.

        The other stays and their charges do not change. A stay without an end is never closed.
        """
        while len(self.history) > bounds.HISTORY_MAX:
            repeat = _first_repeat(self.history)
            if repeat is not None:
                del self.history[repeat]
                continue
            end = next((cause.occurred_at for cause in self.history if cause.type == DELETED), None)
            if end is None:
                return
            self._close(end)

    def charge_of(self, stay: Stay) -> Charge | None:
        """The charge of the stay; None if it was not charged yet."""
        for charge in self.charges:
            if stay.holds(charge.at):
                return charge
        return None

    def strays(self, stays: Sequence[Stay]) -> list[Charge]:
        """The charges that belong to none of `stays`, since a late delete split theirs, and to no closed stay."""
        return [
            charge
            for charge in self.charges
            if not self.is_closed_at(charge.at) and not any(stay.holds(charge.at) for stay in stays)
        ]

    def void(self, charge: Charge) -> None:
        """Removes a charge that was refunded because it belongs to no stay that costs a credit."""
        self.charges.remove(charge)
        self.stays_past += 1

    def drop(self, stay: Stay) -> None:
        """Removes the cause of the stay from the history, since its charge was declined."""
        self.history.remove(stay.brought_by)
        self.stays_past += 1

    def _close(self, until: datetime) -> None:
        """Settles the events up to `until` for good; a refund request that waits can still be decided.

        A charge from before the ledger is kept for its request, since no entry has its grant.
        """
        stays = self.stays()
        strays = [charge for charge in self.strays(stays) if charge.at <= until]
        left = [stay for stay in stays if stay.ended_at is None or stay.ended_at > until]
        # A row that no longer shows a stay or a stray counts as a new stay: it does not have the same charge.
        self.stays_past += len(stays) - len(left) + len(strays) + (bool(stays) and not left)
        self.charges = [
            charge
            for charge in self.charges
            if charge.at > until or (charge.sequence < 0 and charge.is_requested and not charge.is_settled)
        ]
        self.history = [cause for cause in self.history if cause.occurred_at > until]
        self.closed_until = until


def _first_repeat(history: Sequence[Cause]) -> int | None:
    """The index of the oldest event on which no stay depends; None if there is none.

    From one delete to the next these are needed: the first and the last event that bring the prospect on, since a late
    delete may split the stay; the first bounce and the first wrong e-mail, both before and after the prospect came on;
    and the last event.
    """
    begin = 0
    for end in [*(n for n, cause in enumerate(history) if cause.type == DELETED), len(history)]:
        indexes = range(begin, end)
        brought = [n for n in indexes if history[n].type in ORIGIN_OF]
        firsts: dict[tuple[str, bool], int] = {}
        for n in indexes:
            if history[n].type not in ORIGIN_OF:
                firsts.setdefault((history[n].type, bool(brought) and n > brought[0]), n)
        needed = {*brought[:1], *brought[-1:], *firsts.values(), *indexes[-1:]}
        repeat = next((n for n in indexes if n not in needed), None)
        if repeat is not None:
            return repeat
        begin = end + 1
    return None


def stays_of(history: Sequence[Cause], closed_until: datetime | None = None) -> list[Stay]:
    """The stays of a history, in order of occurrence.

    Only the first event of a stay brings the prospect on; the others are free. A bounce belongs to the stay in which it
    occurred; before the first stay, to that; after a delete, to none. `closed_until` is the time of a delete
    that is not in the history any more.
    """
    stays: list[Stay] = []
    current: Stay | None = None
    bounce = wrong_email = None
    deleted_at = closed_until
    for cause in history:
        if cause.type in ORIGIN_OF:
            if current is None:
                current = Stay(cause, deleted_at, bounce, wrong_email)
                stays.append(current)
        elif cause.type == DELETED:
            if current is not None:
                current.ended_by = cause
            current = bounce = wrong_email = None
            deleted_at = cause.occurred_at
        elif current is not None:
            if cause.type == BOUNCED:
                current.bounce = current.bounce or cause
            else:
                current.wrong_email = current.wrong_email or cause
        elif deleted_at is None:
            if cause.type == BOUNCED:
                bounce = bounce or cause
            else:
                wrong_email = wrong_email or cause
    return stays

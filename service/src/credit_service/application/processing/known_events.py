"""The status of a message that is read again: decided, parked, a dead letter, or new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from credit_contracts.envelope import Unreadable
from credit_service.application.record import Record
from credit_service.domain.event import Incoming, Place

MessageStatus = Literal["new", "duplicate", "conflict", "unreadable", "parked", "dead-letter"]
"""`duplicate`: decided before. `parked`: waits for its account's first plan. `dead-letter`: readable, but refused for
another reason than a conflict; only the desk for dead letters retries it."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """The ledger's record of an event's key. `position` None: it is parked. `place` None: it came from no message."""

    content: bytes
    place: Place | None
    position: int | None


@dataclass(frozen=True, slots=True)
class KnownLetter:
    """A dead letter: its reason, and whether it still waits."""

    dead_letter_id: int
    reason: str
    status: Literal["waiting", "resolved", "discarded"]
    outcome: str | None


class Lookup(Protocol):
    """Looks up known messages in the ledger without locks. Raises `LedgerUnavailable`."""

    async def keys(self, events: Sequence[Incoming]) -> list[KnownKey | None]:
        """The record under each event's key, in the order of `events`; None if there is none."""

    async def letters(self, places: Sequence[Place]) -> dict[Place, KnownLetter]:
        """The dead letters of these places; the last one where a place has several."""


def classify(record: Record, known: KnownKey | None, letter: KnownLetter | None) -> MessageStatus:
    """The status of the record; only a `new` one has an effect."""
    if isinstance(record.content, Unreadable):
        return "unreadable"
    if known is None:
        return "new" if letter is None else "dead-letter"
    if known.content != record.content.content:
        return "conflict"
    return "parked" if known.position is None else "duplicate"


def _is_same(record: Record, known: KnownKey) -> bool:
    return isinstance(record.content, Incoming) and known.content == record.content.content


async def classify_keys(
    records: Sequence[Record], lookup: Lookup
) -> tuple[list[MessageStatus], list[KnownKey | None], Mapping[Place, KnownLetter]]:
    """The status of each record, with what it follows from: the known keys, and the dead letters by place."""
    events = [record.content for record in records if isinstance(record.content, Incoming)]
    found = iter(await lookup.keys(events) if events else [])
    known = [next(found) if isinstance(record.content, Incoming) else None for record in records]
    doubtful = [r.place for r, k in zip(records, known, strict=True) if k is None or not _is_same(r, k)]
    letters = await lookup.letters(doubtful) if doubtful else {}
    statuses = [classify(r, k, letters.get(r.place)) for r, k in zip(records, known, strict=True)]
    return statuses, known, letters

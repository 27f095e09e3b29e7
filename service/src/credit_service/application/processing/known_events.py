"""What is already known of a message that comes once more: decided, waiting for a plan, a dead letter, or new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from credit_contracts.envelope import Unreadable
from credit_service.application.record import Record
from credit_service.domain.event import Incoming, Place

MessageStatus = Literal["new", "duplicate", "conflict", "unreadable", "parked", "dead-letter"]
"""`duplicate`: decided before. `parked`: waits for its account's first plan. `dead-letter`: readable and yet refused,
for another reason than a conflict; only the desk for dead letters tries it again."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What the ledger has under an event's key. `position` None: it is parked. `place` None: never of an event."""

    content: bytes
    place: Place | None
    position: int | None


@dataclass(frozen=True, slots=True)
class KnownLetter:
    """A dead letter: why it became one, and whether anything is still to be done about it."""

    dead_letter_id: int
    reason: str
    status: Literal["waiting", "resolved", "discarded"]
    outcome: str | None


class Lookup(Protocol):
    """Asks the ledger and locks nothing. Raises `LedgerUnavailable`."""

    async def keys(self, events: Sequence[Incoming]) -> list[KnownKey | None]:
        """What is known under each event's key, in the order of `events`; None if nothing is."""

    async def letters(self, places: Sequence[Place]) -> dict[Place, KnownLetter]:
        """The dead letters that came from these places; the last one where a place has several."""


def classify(record: Record, known: KnownKey | None, letter: KnownLetter | None) -> MessageStatus:
    """What becomes of the record if it comes again; only what is `new` changes anything."""
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

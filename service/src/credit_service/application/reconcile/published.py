"""Compares the published topics with the ledger: each change and decline is there once, in order, byte for byte."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic_core import to_json

from credit_service.application.reconcile.findings import Finding, place_text
from credit_service.application.reconcile.fingerprint import Fingerprint, hash_of_event
from credit_service.application.reconcile.ports import Pending, PublishedRecord
from credit_service.domain.audit.history import History
from credit_service.domain.published import Published, balance_changed, insufficient_credits

DECLINE_MARK = ":d:"


@dataclass(slots=True)
class PublishedTally:
    """The published events of one account: the first and the last number of each kind, and a sum over all."""

    first_sequence: int = 0
    last_sequence: int = 0
    first_decline: int = 0
    last_decline: int = 0
    in_order: bool = True
    events: Fingerprint = field(default_factory=Fingerprint)

    def add(self, number: int, hashed: int, *, is_decline: bool) -> None:
        """Adds an event, in the order of its topic."""
        if is_decline:
            self.in_order &= number > self.last_decline
            self.first_decline = self.first_decline or number
            self.last_decline = max(number, self.last_decline)
        else:
            self.in_order &= number == self.last_sequence + 1 or not self.last_sequence
            self.first_sequence = self.first_sequence or number
            self.last_sequence = max(number, self.last_sequence)
        self.events.add(hashed)


@dataclass(frozen=True, slots=True)
class EventName:
    """The parts of an event's id: `account:sequence`, or `account:d:position` for a decline."""

    account_id: str
    number: int
    is_decline: bool


def name_of(record: PublishedRecord) -> EventName | None:
    """The parts of a published event's id; None if this service does not make such ids."""
    account_id, _, number = (record.event_id or "").rpartition(":")
    if not account_id or not (number.isascii() and number.isdigit()):
        return None
    if account_id.endswith(":d") and record.place.topic.endswith("insufficient-credits"):
        return EventName(account_id[:-2], int(number), is_decline=True)
    return EventName(account_id, int(number), is_decline=False)


@dataclass(slots=True)
class Expected:
    """The events that should be in the topics, by their numbers."""

    changes: dict[int, Published] = field(default_factory=dict)
    declines: dict[int, Published] = field(default_factory=dict)


def events_of(history: History) -> Expected:
    """The events of an account, built again from the ledger."""
    return Expected(
        {sequence: balance_changed(change) for sequence, change in history.changes.items()},
        {p: insufficient_credits(d) for p, d in history.decisions.items() if d.outcome == "declined"},
    )


def value_of(event: Published) -> bytes:
    """The bytes of the event's value."""
    return to_json(event.data)


def agrees(
    history: History, tally: PublishedTally | None, pending: Pending, *, is_whole: bool, began_ms: int | None
) -> bool:
    """Whether the sum over the topic is that over the ledger; if not, `look_closely` finds the reason.

    `is_whole`: the topic was read from its first message on, and none was lost. Else it begins at `began_ms`.
    """
    tally = tally or PublishedTally()
    if not tally.in_order:
        return False
    expected = _due(history, tally, pending, is_whole=is_whole, began_ms=began_ms)
    total = count = 0
    for event in expected:
        total += hash_of_event(event.id, event.account_id.encode(), value_of(event))
        count += 1
    return (count, total) == (tally.events.count, tally.events.total)


def _due(
    history: History, tally: PublishedTally, pending: Pending, *, is_whole: bool, began_ms: int | None
) -> Iterable[Published]:
    """The events that must be in the topics: all from the first on, except those in the outbox that were not read."""
    first = _first(tally.first_sequence, is_whole, began_ms, ((s, c.recorded_at) for s, c in history.changes.items()))
    for sequence, change in history.changes.items():
        is_pending = pending.sequence is not None and sequence >= pending.sequence and sequence > tally.last_sequence
        if sequence >= first and not is_pending:
            yield balance_changed(change)
    declined = {p: d for p, d in history.decisions.items() if d.outcome == "declined"}
    first = _first(tally.first_decline, is_whole, began_ms, ((p, d.decided_at) for p, d in declined.items()))
    for position, decision in declined.items():
        is_pending = pending.decline is not None and position >= pending.decline and position > tally.last_decline
        if position >= first and not is_pending:
            yield insufficient_credits(decision)


def _first(tally: int, is_whole: bool, began_ms: int | None, recorded: Iterable[tuple[int, object]]) -> int:
    """The first number that must be there: that of all, of the first read, or of the first since the log begins."""
    if is_whole:
        return 0
    if tally:
        return tally
    since = [n for n, at in recorded if began_ms is not None and at.timestamp() * 1000 > began_ms]  # type: ignore[attr-defined] # instants
    return min(since) if since else 2**62


def look_closely(
    history: History,
    records: Sequence[PublishedRecord],
    pending: Pending,
    *,
    is_whole: bool,
    began_ms: int | None,
    repaired: set[str],
    dropped: Mapping[str, str],
    gone: Mapping[bool, set[int]],
) -> list[Finding]:
    """The findings, event by event. `gone` are changes (False) and decisions (True) that the ledger itself misses:
    they have findings of their own."""
    found: list[Finding] = []
    tally, seen = PublishedTally(), {False: set[int](), True: set[int]()}
    expected = events_of(history)
    for record in records:
        name = name_of(record)
        if name is None:
            continue
        event = (expected.declines if name.is_decline else expected.changes).get(name.number)
        subject = record.event_id or ""
        where = f"at {place_text(record.place)}"
        last = tally.last_decline if name.is_decline else tally.last_sequence
        if name.number in seen[name.is_decline]:
            found.append(Finding("event-repeated", history.account_id, subject, f"again {where}"))
        elif event is None:
            known = history.row.position if name.is_decline else history.row.sequence
            if name.number <= known and name.number not in gone[name.is_decline]:
                found.append(Finding("event-extra", history.account_id, subject, f"{where}, but not in the ledger"))
        elif not _has_cause(history, name, gone[True]):
            # Its cause is missing, which is a finding of its own.
            pass
        elif (record.key, record.value) != (history.account_id.encode(), value_of(event)):
            found.append(
                Finding("event-differs", history.account_id, subject, f"{where}, with other bytes than the ledger's")
            )
        elif name.number < last and subject not in repaired:
            found.append(Finding("event-out-of-order", history.account_id, subject, f"{where}, behind {last}"))
        seen[name.is_decline].add(name.number)
        tally.add(name.number, 0, is_decline=name.is_decline)
    for event in _due(history, tally, pending, is_whole=is_whole, began_ms=began_ms):
        is_decline = event.type == "insufficient-credits"
        number = int(event.id.rpartition(":")[2])
        if number in seen[is_decline]:
            continue
        if event.id in dropped:
            found.append(Finding("event-dropped", history.account_id, event.id, f"{event.type}, {dropped[event.id]}"))
        else:
            message = f"{event.type} was never published"
            found.append(Finding("event-missing", history.account_id, event.id, message, "publish", event=event))
    return found


def _has_cause(history: History, name: EventName, gone: set[int]) -> bool:
    return name.is_decline or history.changes[name.number].cause.position not in gone

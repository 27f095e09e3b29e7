"""Compares the incoming topics with the decisions: each message is decided, or has a reason why it is not."""

from collections.abc import Sequence
from datetime import datetime

from credit_contracts.envelope import Unreadable
from credit_service.application.processing.known_events import Lookup, classify_keys
from credit_service.application.reconcile.findings import Finding, place_text
from credit_service.application.reconcile.fingerprint import Fingerprint, hash_of_message
from credit_service.application.reconcile.ports import Span
from credit_service.application.record import Record
from credit_service.domain.audit.history import History
from credit_service.domain.event import Incoming, Place


def hash_of_record(record: Record) -> int:
    """The hash of a readable message."""
    content = record.content
    if isinstance(content, Unreadable):
        raise TypeError("an unreadable record has no key")
    return hash_of_message(record.place, content.key, content.content)


def decided_from(history: History, spans: Sequence[Span]) -> Fingerprint:
    """The sum over the decisions on messages of `spans`."""
    by_topic = {span.partition: span for span in spans}
    decided = Fingerprint()
    for decision in history.decisions.values():
        if decision.place is not None:
            span = by_topic.get(decision.place[:2])
            if span is not None and span.holds(decision.place.offset, decision.decided_at):
                decided.add(hash_of_message(decision.place, decision.key, decision.content))
    return decided


def places_of(history: History, spans: Sequence[Span]) -> dict[Place, str]:
    """The places in `spans` of decided messages, with source and id."""
    by_topic = {span.partition: span for span in spans}
    return {
        d.place: f"{d.source} {d.id}"
        for d in history.decisions.values()
        if d.place is not None
        and (span := by_topic.get(d.place[:2])) is not None
        and span.holds(d.place.offset, d.decided_at)
    }


def places_elsewhere(history: History, number: int) -> dict[Place, tuple[datetime, str]]:
    """The places of decided messages in partitions of another number, with the time of decision, source and id."""
    return {
        d.place: (d.decided_at, f"{d.source} {d.id}")
        for d in history.decisions.values()
        if d.place is not None and d.place.partition != number
    }


async def look_closely(records: Sequence[Record], lookup: Lookup) -> tuple[list[Finding], set[Place]]:
    """The findings, message by message, and the places of decided messages.

    A message is missing if it was never decided, is not parked, and is no dead letter.
    """
    found: list[Finding] = []
    decided: set[Place] = set()
    statuses, known, letters = await classify_keys(records, lookup)
    for record, status, key in zip(records, statuses, known, strict=True):
        where = place_text(record.place)
        content = record.content
        if isinstance(content, Unreadable):
            if record.place not in letters:
                message = f"cannot be read ({content.reason}), and is no dead letter"
                found.append(Finding("message-missing", None, where, message, "process", record=record))
            continue
        if key is not None and key.place == record.place:
            decided.add(record.place)
            if status == "conflict":
                message = f"{_named(content)} was decided with other content than the message has"
                found.append(Finding("message-differs", content.account_id, where, message))
        elif status == "new":
            message = f"{_named(content)} was never decided"
            found.append(Finding("message-missing", content.account_id, where, message, "process", record=record))
        elif status == "conflict" and record.place not in letters:
            message = f"{_named(content)} has other content than was decided under its key, and is no dead letter"
            found.append(Finding("message-missing", content.account_id, where, message, "process", record=record))
    return found, decided


def _named(incoming: Incoming) -> str:
    return f"{incoming.type} {incoming.source} {incoming.id}"

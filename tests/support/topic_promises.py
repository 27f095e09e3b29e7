"""The promises of the topics: each message ends once, each result is out once; shares no code with the service."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from support.ledger_promises import Change, Violations, by_position, changes_of, origin
from support.lying import Lying, records_in
from support.observed import (
    CHANGES,
    DEAD_LETTERS,
    DECLINES,
    UNREADABLE,
    Event,
    Message,
    Observed,
    Place,
    Row,
    read_event,
)

OWN_SOURCE = "/credit-service"
OWN_TYPES = {
    "renewal": ("renewed",),
    "expiry": ("expired",),
    "refund-approved": ("refunded", "forfeited"),
    "refund-rejected": ("rejected",),
    "opening": ("opened",),
    "adjustment": ("adjusted",),
}
PUBLISHED_BYTES_MAX = {"key": 64 * 1024, "value": 512 * 1024}
DEAD_LETTER_PREFIX = "credit_dead_letter_"


def inputs(observed: Observed, paused: Collection[str]) -> Violations:
    """Every message ended once: decided, a repeat of one that is, parked, a dead letter, in a batch that is one, or
    skipped by a person. Nothing else is there.
    """
    batches = [row for row in observed.dead_letters if until_of(row) is not None]
    single = [row for row in observed.dead_letters if until_of(row) is None]
    letters = {_place(row): row for row in single}
    packed = {place: (row, one) for row in batches for place, one in _records_of(row).items()}
    skipped = set(skipped_in(observed))
    decided = {_key(row): row for row in observed.decisions if row["source"] != OWN_SOURCE}
    parked = {_key(row): row for row in observed.parked}
    if len(letters) != len(single):
        yield "a message is a dead letter twice"
    if both := decided.keys() & parked.keys():
        yield f"{len(both)} events are decided and still parked"
    places: dict[tuple[str, str, str], dict[Place, Event]] = defaultdict(dict)
    retried: set[Place] = set()
    for message in observed.incoming:
        if message.place in packed:
            batch, one = packed.pop(message.place)
            if (one.key, one.value, one.headers) != (message.key, message.value, message.headers):
                yield f"the dead letter of the batch at {_place(batch)} has not the bytes of {message.place}"
            # As below: of a batch that was taken apart, each record has ended by itself.
            if batch["status"] != "resolved":
                continue
            retried.add(message.place)
        letter = letters.pop(message.place, None)
        if letter is not None:
            yield from _is_the_original(letter, message)
            # One that was retried has ended as any other message does, at any time.
            if letter["status"] != "resolved":
                continue
            retried.add(message.place)
        if message.place[0] in paused or message.place in skipped:
            continue
        try:
            event = read_event(message)
        except UNREADABLE as error:
            yield f"{message.place} cannot be read ({error!r}) and is no dead letter"
            continue
        places[event.key][message.place] = event
    gone = _Gone(observed)
    yield from (f"dead letter {place} was never sent" for place in [*letters, *packed] if place not in gone)
    for key, row in (parked | decided).items():
        if key not in places and origin(observed.prefix, row) not in gone:
            yield f"{key} was decided and never sent"
    for key, sent in places.items():
        yield from _ended_once(observed.prefix, decided.get(key) or parked.get(key), sent, retried)
    for row in observed.decisions:
        if (row["source"] == OWN_SOURCE) != (row["outcome"] in OWN_TYPES.get(row["type"], ())):
            yield f"{_key(row)} is {row['outcome']}, {row['type']} from {row['source']}"


def until_of(letter: Row) -> int | None:
    """The offset behind the batch that this dead letter is; None if it is one of a single record."""
    headers = json.loads(letter["headers"])
    is_batch = [name for name, _ in headers] == [f"{DEAD_LETTER_PREFIX}until"]
    return int(base64.b64decode(headers[0][1])) if is_batch else None


def _records_of(batch: Row) -> dict[Place, Lying]:
    """By place, from that of the dead letter up to where it says that it ends."""
    topic, partition, first = _place(batch)
    until = until_of(batch) or first
    return {
        (topic, partition, one.offset): one for one in records_in(batch["value"] or b"") if first <= one.offset < until
    }


def skipped_in(observed: Observed) -> Iterator[Place]:
    """What the service went past, as it has recorded; where it went back, the log was made anew."""
    for gap in observed.gaps:
        for offset in range(gap["expected_offset"], gap["resumed_offset"]):
            yield gap["topic"], gap["partition"], offset


class _Gone:
    """Places of which the log has nothing any more: it begins behind them, or was made anew since."""

    def __init__(self, observed: Observed) -> None:
        self._begins = observed.begins
        self._anew = {
            (gap["topic"], gap["partition"]) for gap in observed.gaps if gap["resumed_offset"] <= gap["expected_offset"]
        }

    def __contains__(self, place: Place) -> bool:
        return place[:2] in self._anew or (place[:2] in self._begins and place[2] < self._begins[place[:2]])


def _ended_once(prefix: str, row: Row | None, sent: dict[Place, Event], retried: set[Place]) -> Violations:
    if row is None:
        yield f"{sorted(sent)} was lost: no decision, not parked, no dead letter"
        return
    first = origin(prefix, row)
    if first not in sent:
        yield f"{_key(row)} is said to come from {first}, and came from {sorted(sent)}"
        return
    at_once = sent.keys() - retried
    if first in at_once and first != min(place for place in at_once if place[:2] == first[:2]):
        yield f"{_key(row)} was decided at {first}, and not at the first of {sorted(sent)}"
    if len({(event.type, event.content) for event in sent.values()}) > 1:
        yield f"{_key(row)} came with different contents, and none of them is a dead letter: {sorted(sent)}"


def _is_the_original(letter: Row, message: Message) -> Violations:
    headers = [(n, None if v is None else base64.b64decode(v)) for n, v in json.loads(letter["headers"])]
    if letter["is_left_out"]:
        told = (letter["value"], headers, letter["value_bytes"], letter["value_sha256"])
        if told != (None, [], *_size_and_hash(message.value)) or letter["key"] not in (None, message.key):
            yield f"dead letter {message.place} has not the hash of what was sent"
        return
    if (letter["key"], letter["value"], headers) != (message.key, message.value, message.headers):
        yield f"dead letter {message.place} has not the bytes that were sent"


def changes_out(observed: Observed, *, repeats: bool) -> Violations:
    """Every balance change is out once, in order, as the ledger has it."""
    decisions = by_position(observed)
    expected = {
        f"{name}:{change.first['sequence']}": _change_fields(change, decisions.get((name, change.first["position"])))
        for name, changes in changes_of(observed).items()
        for change in changes
    }
    yield from _published(observed.outgoing.get(CHANGES, []), expected, repeats=repeats)
    seen = Counter[str]()
    for message in observed.outgoing.get(CHANGES, []):
        data = message.data()
        name, sequence = data["account_id"], data["sequence"]
        if sequence > seen[name] + 1 or (sequence <= seen[name] and not repeats):
            yield f"{name}: sequence {sequence} at {message.place} comes after {seen[name]}"
        seen[name] = max(seen[name], sequence)


def declines_out(observed: Observed, *, repeats: bool) -> Violations:
    """Every decline is out once, in the order of decision."""
    expected = {
        f"{d['account_id']}:d:{d['position']}": _decline_fields(d)
        for d in observed.decisions
        if d["outcome"] == "declined"
    }
    messages = observed.outgoing.get(DECLINES, [])
    yield from _published(messages, expected, repeats=repeats)
    last = Counter[str]()
    for message in messages:
        name, _, position = (message.header("ce_id") or "").rpartition(":d:")
        if int(position) <= last[name] and not repeats:
            yield f"{name}: decline {position} at {message.place} comes after {last[name]}"
        last[name] = max(last[name], int(position))


def _published(messages: list[Message], expected: dict[str, Row], *, repeats: bool) -> Violations:
    """Each expected id once, with the expected fields; of repeats, the last one counts."""
    by_id: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        by_id[message.header("ce_id") or ""].append(message)
    yield from (f"{event_id} is missing" for event_id in expected.keys() - by_id.keys())
    for event_id, copies in by_id.items():
        if len(copies) > 1 and not repeats:
            yield f"{event_id} is out {len(copies)} times"
        if event_id not in expected:
            yield f"{event_id} is out and not in the ledger"
            continue
        data, said = copies[-1].data(), expected[event_id]
        if data != said:
            differ = {name for name in data.keys() | said.keys() if data.get(name) != said.get(name)}
            yield f"{event_id} differs from the ledger in {sorted(differ)}"
        yield from (f"{event_id} is out with two meanings" for copy in copies if not _same_but_times(copy.data(), data))
        for copy in copies:
            yield from _envelope(copy, event_id)


def _same_but_times(one: Row, other: Row) -> bool:
    return {**one, "recorded_at": ""} == {**other, "recorded_at": ""}


def _envelope(message: Message, event_id: str) -> Violations:
    data = message.data()
    topic = CHANGES if ":d:" not in event_id else DECLINES
    expected = {"id": event_id, "source": OWN_SOURCE, "type": topic, "specversion": "1.0", "time": data["recorded_at"]}
    said = {name: message.header(f"ce_{name}") for name in expected}
    if said != expected:
        yield f"{event_id} has the envelope {said}"
    if message.key != data["account_id"].encode():
        yield f"{event_id} has the key {message.key!r}"


def _change_fields(change: Change, decision: Row | None) -> Row:
    row = change.first
    return {
        "account_id": row["account_id"],
        "sequence": row["sequence"],
        "previous_balance": row["previous_balance"],
        "balance": row["balance"],
        "delta": change.delta,
        "reason": row["reason"],
        "cause": {name: decision[name] for name in ("source", "id", "type")} if decision else None,
        "prospect_id": decision["prospect_id"] if decision else None,
        "unlimited": row["balance"] is None,
        "period_ends_at": _time(row["period_ends_at"]),
        "occurred_at": _time(row["occurred_at"]),
        "recorded_at": _time(row["recorded_at"]),
    }


def _decline_fields(decision: Row) -> Row:
    return {
        "account_id": decision["account_id"],
        "required": 1,
        "available": 0,
        "shortfall": 1,
        "cause": {name: decision[name] for name in ("source", "id", "type")},
        "prospect_id": decision["prospect_id"],
        "declined_in_period": decision["declined_in_period"],
        "period_ends_at": _time(decision["period_ends_at"]),
        "occurred_at": _time(decision["occurred_at"]),
        "recorded_at": _time(decision["decided_at"]),
    }


def dead_letters_out(observed: Observed, *, repeats: bool) -> Violations:
    """Every dead letter is on its topic once: bytes, place and reason."""
    published: dict[Place, list[Message]] = defaultdict(list)
    for message in observed.outgoing.get(DEAD_LETTERS, []):
        topic, partition, offset = (
            message.header(f"{DEAD_LETTER_PREFIX}{n}") for n in ("topic", "partition", "offset")
        )
        published[topic or "", int(partition or -1), int(offset or -1)].append(message)
    for row in observed.dead_letters:
        copies = published.pop(_place(row), [])
        if not copies or (len(copies) > 1 and not repeats):
            yield f"{_place(row)} is out {len(copies)} times"
        for message in copies:
            if message.header(f"{DEAD_LETTER_PREFIX}reason") != row["reason"]:
                yield f"{_place(row)} is out with another reason"
            yield from _dead_part(row, message, "key", message.key)
            yield from _dead_part(row, message, "value", message.value)
    yield from (f"{place} is out and no dead letter" for place in published)


def _dead_part(row: Row, message: Message, name: str, out: bytes | None) -> Violations:
    kept = row[name]
    if row["is_left_out"] and name == "value":
        told = tuple(message.header(f"{DEAD_LETTER_PREFIX}value_{n}") for n in ("bytes", "sha256"))
        known = (str(row["value_bytes"]), row["value_sha256"]) if row["value_sha256"] else (None, None)
        if out is not None or told != known:
            yield f"{_place(row)} is kept without its bytes, and is out as {told}"
        return
    if kept is None or len(kept) <= PUBLISHED_BYTES_MAX[name]:
        if out != kept:
            yield f"{_place(row)} is out with another {name}"
        return
    told = tuple(message.header(f"{DEAD_LETTER_PREFIX}{name}_{n}") for n in ("bytes", "sha256"))
    size, digest = _size_and_hash(kept)
    if out is not None or told != (str(size), digest):
        yield f"{_place(row)} has too large a {name} and is out as {told}"


def _size_and_hash(content: bytes | None) -> tuple[int | None, str | None]:
    return (None, None) if content is None else (len(content), hashlib.sha256(content).hexdigest())


def outbox(observed: Observed) -> Violations:
    if observed.outbox or observed.claims:
        yield f"{len(observed.outbox)} rows wait, {len(observed.claims)} claims"


def offsets(observed: Observed, paused: Collection[str]) -> Violations:
    """Kafka's offsets are never ahead of the ledger's, and the ledger's are at the ends of the logs."""
    stored = observed.stored()
    for place, committed in observed.committed.items():
        if place in observed.ends and committed > stored.get(place, 0):
            yield f"{place} is committed up to {committed}, stored up to {stored.get(place)}"
    for place, end in observed.ends.items():
        if place[0] not in paused and end != stored.get(place, 0):
            yield f"{place} ends at {end}, stored up to {stored.get(place)}"


def _place(row: Row) -> Place:
    return row["topic"], row["partition"], row["offset"]


def _key(row: Row) -> tuple[str, str, str]:
    return row["account_id"], row["source"], row["id"]


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None

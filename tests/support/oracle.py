"""Says whether the promises hold, from what lies in Postgres and in Kafka alone; shares no code with the service."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from support.observed import (
    CHANGES,
    DEAD_LETTERS,
    DECLINES,
    Event,
    Message,
    Observed,
    Place,
    Row,
    observe_ledger,
    observe_offsets,
    observe_topics,
    read_event,
)
from support.wait import eventually

OWN_SOURCE = "/credit-service"
OWN_TYPES = {"renewal": "renewed", "expiry": "expired"}
PUBLISHED_VALUE_BYTES_MAX = 512 * 1024
DEAD_LETTER_PREFIX = "credit_dead_letter_"

Violations = Iterator[str]


@dataclass
class Oracle:
    """Watches one deployment."""

    database_url: str
    kafka: str
    group: str
    prefix: str

    async def drained(self, within_seconds: float = 40, *, but: Collection[str] = ()) -> None:
        """Waits until all that lies in the topics is decided, published, and seen to be so by whoever watches the lag.

        `but` names topics that are left out, as the contracts know them.
        """
        left_out = {self.prefix + name for name in but}

        waiting = "not asked yet"

        async def is_drained() -> bool:
            nonlocal waiting
            waiting = await self._waiting(left_out)
            return not waiting

        try:
            await eventually(is_drained, within_seconds=within_seconds)
        except AssertionError as error:
            raise AssertionError(f"not drained within {within_seconds} s: {waiting}") from error

    async def observe(self) -> Observed:
        """Everything there is to look at."""
        observed = await observe_ledger(self.database_url, self.prefix)
        await observe_offsets(self.kafka, self.group, observed)
        await observe_topics(self.kafka, observed)
        return observed

    async def check(self, *, repeats: bool = False, within_seconds: float = 40, but: Collection[str] = ()) -> Observed:
        """Waits until the service has drained, then asserts every promise; returns what was seen.

        `repeats` allows that what was published lies there again, as after a restore from a backup.
        """
        await self.drained(within_seconds, but=but)
        observed = await self.observe()
        assert_holds(observed, repeats=repeats, but=but)
        return observed

    async def _waiting(self, but: set[str]) -> str:
        observed = await observe_ledger(self.database_url, self.prefix)
        await observe_offsets(self.kafka, self.group, observed)
        stored = observed.stored()
        for place, end in sorted(observed.ends.items()):
            if place[0] not in but and end and stored.get(place, 0) != end:
                return f"{place} is read up to {stored.get(place)} of {end}"
            if place[0] not in but and end and observed.committed.get(place, 0) != end:
                return f"{place} is committed up to {observed.committed.get(place)} of {end}"
        if observed.outbox or observed.claims:
            return f"{len(observed.outbox)} rows in the outbox, {len(observed.claims)} claims"
        return ""


def assert_holds(observed: Observed, *, repeats: bool = False, but: Collection[str] = ()) -> None:
    """Raises with every promise that is broken."""
    broken = violations(observed, repeats=repeats, but=but)
    assert not broken, "\n".join([f"{len(broken)} promises broken:", *broken[:40]])


def violations(observed: Observed, *, repeats: bool = False, but: Collection[str] = ()) -> list[str]:
    """What is broken, each line beginning with the name of the promise."""
    paused = {observed.prefix + name for name in but}
    checks: dict[str, Callable[[], Violations]] = {
        "balance": lambda: _balance(observed),
        "grants": lambda: _grants(observed),
        "charges": lambda: _charges(observed),
        "declines": lambda: _declines(observed),
        "positions": lambda: _positions(observed),
        "inputs": lambda: _inputs(observed, paused),
        "changes out": lambda: _changes_out(observed, repeats=repeats),
        "declines out": lambda: _declines_out(observed, repeats=repeats),
        "dead letters out": lambda: _dead_letters_out(observed, repeats=repeats),
        "outbox": lambda: _outbox(observed),
        "offsets": lambda: _offsets(observed, paused),
    }
    return [f"{name}: {told}" for name, check in checks.items() for told in check()]


@dataclass
class Change:
    """The lines of one sequence, put together again."""

    lines: list[Row]

    @property
    def first(self) -> Row:
        return self.lines[0]

    @property
    def delta(self) -> int:
        return sum(line["amount"] for line in self.lines)


def changes_of(observed: Observed) -> dict[str, list[Change]]:
    """The balance changes of each account, in order."""
    changes: dict[str, list[Change]] = defaultdict(list)
    for (account_id, _), lines in groupby(observed.entries, key=lambda e: (e["account_id"], e["sequence"])):
        changes[account_id].append(Change(list(lines)))
    return changes


def _balance(observed: Observed) -> Violations:
    """Balance = sum of the entries = what the open grants hold, never below zero; each change follows on the last."""
    changes = changes_of(observed)
    held = Counter[str]()
    for grant in observed.grants:
        held[grant["account_id"]] += grant["remaining"] if grant["open"] else 0
    known = {account["account_id"] for account in observed.accounts}
    yield from (f"{name} has entries and no account" for name in changes if name not in known)
    for account in observed.accounts:
        name, running, published = account["account_id"], 0, 0
        for number, change in enumerate(changes.get(name, ()), start=1):
            running += change.delta
            row = change.first
            if row["sequence"] != number:
                yield f"{name}: sequence {row['sequence']} where {number} was due"
            if running < 0:
                yield f"{name}: {running} credits after sequence {number}"
            if row["previous_balance"] != published:
                yield f"{name}: sequence {number} goes on from {row['previous_balance']}, not from {published}"
            if row["balance"] not in (None, running):
                yield f"{name}: sequence {number} says {row['balance']} and the entries {running}"
            published = row["balance"]
        if account["sequence"] != len(changes.get(name, ())):
            yield f"{name}: {account['sequence']} sequences given, {len(changes.get(name, ()))} entered"
        if account["balance"] != running or running != held[name]:
            yield f"{name}: balance {account['balance']}, entries {running}, open grants {held[name]}"
        if changes.get(name) and account["unlimited"] != (published is None):
            yield f"{name}: unlimited is {account['unlimited']}, published was {published}"


def _grants(observed: Observed) -> Violations:
    """What is left of a grant is what its entries add up to, and never more than it had."""
    entered = Counter[tuple[str, int]]()
    for entry in observed.entries:
        if entry["grant_id"] is not None:
            entered[entry["account_id"], entry["grant_id"]] += entry["amount"]
    for grant in observed.grants:
        at = grant["account_id"], grant["grant_id"]
        if grant["remaining"] != entered.pop(at, 0):
            yield f"{at}: {grant['remaining']} left, its entries say otherwise"
        if not 0 <= grant["remaining"] <= grant["amount"]:
            yield f"{at}: {grant['remaining']} left of {grant['amount']}"
        if grant["remaining"] and not grant["open"]:
            yield f"{at}: closed with {grant['remaining']} left"
    yield from (f"{at}: entries and no grant" for at in entered)


def _charges(observed: Observed) -> Violations:
    """A prospect is charged for once; a refund gives back one charge of the same prospect, once."""
    decisions = {(d["account_id"], d["position"]): d for d in observed.decisions}
    charged: dict[tuple[str, str], int] = {}
    refunded: set[tuple[str, int]] = set()
    by_position = Counter[tuple[str, int, str]]()
    for name, changes in changes_of(observed).items():
        for change in changes:
            row = change.first
            decision = decisions.get((name, row["position"]))
            if decision is None:
                yield f"{name}: sequence {row['sequence']} has no decision"
                continue
            by_position[name, row["position"], row["reason"]] += 1
            if row["reason"] == "charge":
                if (name, decision["prospect_id"]) in charged:
                    yield f"{name}: {decision['prospect_id']} charged twice"
                charged[name, decision["prospect_id"]] = row["sequence"]
            if row["reason"] == "refund":
                if (name, row["refunds_sequence"]) in refunded:
                    yield f"{name}: sequence {row['refunds_sequence']} refunded twice"
                refunded.add((name, row["refunds_sequence"]))
                if charged.get((name, decision["prospect_id"])) != row["refunds_sequence"]:
                    yield f"{name}: refund {row['sequence']} is of another prospect's charge"
    for (name, position), decision in decisions.items():
        if by_position[name, position, "charge"] != (decision["outcome"] == "charged"):
            yield f"{name}: decision {position} is {decision['outcome']}, entries say otherwise"
        if decision["outcome"] == "refunded" and by_position[name, position, "refund"] != 1:
            yield f"{name}: decision {position} is refunded, entries say otherwise"


def _declines(observed: Observed) -> Violations:
    """Who was declined had no credits at that point, and was not unlimited."""
    changes = changes_of(observed)
    for name, decisions in groupby(observed.decisions, key=lambda d: d["account_id"]):
        balance: int | None = 0
        ahead = list(changes.get(name, ()))
        for decision in decisions:
            # The refund of a bounce that came before its charge lies behind the charge, under an earlier position.
            while ahead and ahead[0].first["position"] <= decision["position"]:
                balance = ahead.pop(0).first["balance"]
            if decision["outcome"] == "declined" and balance != 0:
                yield f"{name}: decision {decision['position']} declined at a balance of {balance}"


def _positions(observed: Observed) -> Violations:
    """Decisions are numbered without gaps."""
    given: dict[str, list[int]] = defaultdict(list)
    for decision in observed.decisions:
        given[decision["account_id"]].append(decision["position"])
    for account in observed.accounts:
        positions = given.pop(account["account_id"], [])
        if positions != list(range(1, account["position"] + 1)):
            yield f"{account['account_id']}: {len(positions)} decisions, the last number is {account['position']}"
    yield from (f"{name}: decisions and no account" for name in given)


def _inputs(observed: Observed, paused: Collection[str]) -> Violations:
    """Every message ended once: decided, a repeat of one that is, parked, or a dead letter. Nothing else is there."""
    letters = {_place(row): row for row in observed.dead_letters}
    decided = {_key(row): row for row in observed.decisions if row["source"] != OWN_SOURCE}
    parked = {_key(row): row for row in observed.parked}
    if len(letters) != len(observed.dead_letters):
        yield "a message is a dead letter twice"
    if both := decided.keys() & parked.keys():
        yield f"{len(both)} events are decided and still parked"
    places: dict[tuple[str, str, str], dict[Place, Event]] = defaultdict(dict)
    for message in observed.incoming:
        letter = letters.pop(message.place, None)
        if letter is not None:
            yield from _is_the_original(letter, message)
            continue
        if message.place[0] in paused:
            continue
        try:
            event = read_event(message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"{message.place} cannot be read ({error!r}) and is no dead letter"
            continue
        places[event.key][message.place] = event
    if not observed.gaps:
        yield from (f"dead letter {place} was never sent" for place in letters)
        yield from (f"{key} was decided and never sent" for key in (decided.keys() | parked.keys()) - places.keys())
    for key, sent in places.items():
        yield from _ended_once(observed.prefix, decided.get(key) or parked.get(key), sent)
    for row in observed.decisions:
        if (row["source"] == OWN_SOURCE) != (OWN_TYPES.get(row["type"]) == row["outcome"]):
            yield f"{_key(row)} is {row['outcome']}, {row['type']} from {row['source']}"


def _ended_once(prefix: str, row: Row | None, sent: dict[Place, Event]) -> Violations:
    if row is None:
        yield f"{sorted(sent)} was lost: no decision, not parked, no dead letter"
        return
    first = prefix + row["type"], row["partition"], row["offset"]
    if first not in sent:
        yield f"{_key(row)} is said to come from {first}, and came from {sorted(sent)}"
        return
    if first != min(place for place in sent if place[:2] == first[:2]):
        yield f"{_key(row)} was decided at {first}, and not at the first of {sorted(sent)}"
    if len({(event.type, event.content) for event in sent.values()}) > 1:
        yield f"{_key(row)} came with different contents, and none of them is a dead letter: {sorted(sent)}"


def _is_the_original(letter: Row, message: Message) -> Violations:
    headers = [(n, None if v is None else base64.b64decode(v)) for n, v in json.loads(letter["headers"])]
    if (letter["key"], letter["value"], headers) != (message.key, message.value, message.headers):
        yield f"dead letter {message.place} has not the bytes that were sent"


def _changes_out(observed: Observed, *, repeats: bool) -> Violations:
    """Every balance change is out once, in order, as the ledger has it."""
    decisions = {(d["account_id"], d["position"]): d for d in observed.decisions}
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


def _declines_out(observed: Observed, *, repeats: bool) -> Violations:
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


def _dead_letters_out(observed: Observed, *, repeats: bool) -> Violations:
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
            if message.header(f"{DEAD_LETTER_PREFIX}reason") != row["reason"] or message.key != row["key"]:
                yield f"{_place(row)} is out with another reason or key"
            yield from _dead_value(row, message)
    yield from (f"{place} is out and no dead letter" for place in published)


def _dead_value(row: Row, message: Message) -> Violations:
    value = row["value"]
    if value is None or len(value) <= PUBLISHED_VALUE_BYTES_MAX:
        if message.value != value:
            yield f"{_place(row)} is out with other bytes"
        return
    told = message.header(f"{DEAD_LETTER_PREFIX}value_bytes"), message.header(f"{DEAD_LETTER_PREFIX}value_sha256")
    if message.value is not None or told != (str(len(value)), hashlib.sha256(value).hexdigest()):
        yield f"{_place(row)} is too large and out as {told}"


def _outbox(observed: Observed) -> Violations:
    if observed.outbox or observed.claims:
        yield f"{len(observed.outbox)} rows wait, {len(observed.claims)} claims"


def _offsets(observed: Observed, paused: Collection[str]) -> Violations:
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

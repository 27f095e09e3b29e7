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

import asyncpg

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
    observe_ledger,
    observe_offsets,
    observe_topics,
    read_event,
)
from support.retold import BRINGS, Balances, events_by_place, retold
from support.wait import eventually

OWN_SOURCE = "/credit-service"
OWN_TYPES = {
    "renewal": ("renewed",),
    "expiry": ("expired",),
    "refund-approved": ("refunded", "forfeited"),
    "refund-rejected": ("rejected",),
    "opening": ("opened",),
    "adjustment": ("adjusted",),
}
# What may change a balance, and why. A delete that comes late may show that a prospect was imported after it.
CAUSES = {
    "charge": (*BRINGS, "opening"),
    "refund": ("email-bounced", "prospect-imported", "prospect-deleted", "refund-approved"),
    "renewal": ("renewal",),
    "lapse": ("renewal", "expiry"),
    "plan_change": ("plan-changed",),
    "purchase": ("credits-purchased",),
    "opening": ("opening",),
    "adjustment": ("adjustment",),
}
PUBLISHED_VALUE_BYTES_MAX = 512 * 1024
DEAD_LETTER_PREFIX = "credit_dead_letter_"
_LOOKS_MAX = 10

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

    async def settled(self, within_seconds: float = 40, *, but: Collection[str] = ()) -> Observed:
        """Waits until the service has drained, and returns what was seen then, all of one moment.

        A timer may decide between the look at the ledger and the one at the topics; then both are looked at again.
        """
        for _ in range(_LOOKS_MAX):
            await self.drained(within_seconds, but=but)
            observed = await self.observe()
            if not (observed.outbox or observed.claims) and await self._decided() == len(observed.decisions):
                return observed
        raise AssertionError(f"something was decided or waited during each of {_LOOKS_MAX} looks")

    async def check(self, *, repeats: bool = False, within_seconds: float = 40, but: Collection[str] = ()) -> Observed:
        """Waits until the service has drained, then asserts every promise; returns what was seen.

        `repeats` allows that what was published lies there again, as after a restore from a backup.
        """
        observed = await self.settled(within_seconds, but=but)
        assert_holds(observed, repeats=repeats, but=but)
        return observed

    async def _decided(self) -> int:
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            decided: int = await connection.fetchval("SELECT count(*) FROM credits.decisions")
            return decided
        finally:
            await connection.close()

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
        if observed.open_ends:
            return f"{observed.open_ends} end in a transaction that is not over"
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
        "causes": lambda: _causes(observed),
        "charges": lambda: _charges(observed),
        "prospects": lambda: retold(observed),
        "requests": lambda: _requests(observed),
        "purchases": lambda: _purchases(observed),
        "adjustments": lambda: _adjustments(observed),
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
        if grant["expires_at"] is None and not grant["open"]:
            yield f"{at}: closed, and never expires"
    yield from (f"{at}: entries and no grant" for at in entered)


def _causes(observed: Observed) -> Violations:
    """Every change has a decision of a type that may bring it about."""
    decisions = _by_position(observed)
    for name, changes in changes_of(observed).items():
        for change in changes:
            row = change.first
            decision = decisions.get((name, row["position"]))
            if decision is None:
                yield f"{name}: sequence {row['sequence']} has no decision"
            elif decision["type"] not in CAUSES.get(row["reason"], ()):
                yield f"{name}: sequence {row['sequence']} is a {row['reason']} by {decision['type']}"


def _charges(observed: Observed) -> Violations:
    """A stay is charged for once; a refund gives back one charge of the same prospect, once."""
    decisions = _by_position(observed)
    deleted: dict[tuple[str, str], list[int]] = defaultdict(list)
    # By account and sequence, negative for what was charged before the ledger: whose charge it is.
    charged: dict[tuple[str, int], str] = {}
    for row in observed.decisions:
        if row["type"] == "prospect-deleted":
            deleted[row["account_id"], row["prospect_id"]].append(row["position"])
        if row["type"] == "opening" and row["prospect_id"] and row["note"] != "imported":
            charged[row["account_id"], -row["position"]] = row["prospect_id"]
    alive = Counter((name, prospect) for (name, _), prospect in charged.items())
    alive_by = Counter[tuple[str, int]]()
    made_by: dict[tuple[str, int], int] = {}
    refunded: set[tuple[str, int]] = set()
    by_position = Counter[tuple[str, int, str]]()
    for name, changes in changes_of(observed).items():
        for row in (change.first for change in changes):
            decision = decisions.get((name, row["position"]))
            if decision is None or row["reason"] not in ("charge", "refund"):
                continue
            by_position[name, row["position"], row["reason"]] += 1
            prospect = decision["prospect_id"]
            if row["reason"] == "charge":
                charged[name, row["sequence"]] = prospect
                made_by[name, row["sequence"]] = row["position"]
                alive[name, prospect] += 1
                alive_by[name, row["position"]] += 1
                if alive_by[name, row["position"]] > 1:
                    yield f"{name}: {prospect} charged twice by decision {row['position']}"
                if alive[name, prospect] > 1 + len(deleted[name, prospect]):
                    yield f"{name}: {prospect} charged more often than it was deleted"
                continue
            charge = name, row["refunds_sequence"]
            if charge in refunded:
                yield f"{name}: sequence {charge[1]} refunded twice"
            refunded.add(charge)
            alive[name, prospect] -= 1
            if charge in made_by:
                alive_by[name, made_by[charge]] -= 1
            if charged.get(charge) != prospect:
                yield f"{name}: refund {row['sequence']} is of another prospect's charge"
    for row in observed.decisions:
        name, position, outcome = row["account_id"], row["position"], row["outcome"]
        count = by_position[name, position, "charge"]
        # The stay of what was free may turn out to be one of its own, by a delete that comes late; what was opened with
        # its account and refunded may turn out to have been deleted before.
        was_parted = outcome in ("free", "opened") and any(at > position for at in deleted[name, row["prospect_id"]])
        if (outcome == "charged" and not count) or (count and outcome != "charged" and not was_parted):
            yield f"{name}: decision {position} is {outcome}, entries say otherwise"
        if outcome == "refunded" and by_position[name, position, "refund"] != 1:
            yield f"{name}: decision {position} is refunded, entries say otherwise"


def _requests(observed: Observed) -> Violations:
    """A request is of one charge of its prospect, waits only while that is not given back, and is decided once."""
    decisions = _by_position(observed)
    charged = {
        (row["account_id"], -row["position"]): row["prospect_id"]
        for row in observed.decisions
        if row["type"] == "opening" and row["note"] != "imported"
    }
    refunded_by = {}
    for entry in observed.entries:
        decision = decisions.get((entry["account_id"], entry["position"]))
        if entry["reason"] == "charge" and decision:
            charged[entry["account_id"], entry["sequence"]] = decision["prospect_id"]
        elif entry["reason"] == "refund":
            refunded_by[entry["account_id"], entry["refunds_sequence"]] = entry["position"]
    forfeited = {(d["account_id"], d["prospect_id"]) for d in observed.decisions if d["outcome"] == "forfeited"}
    seen, decided, asked = set(), set(), set()
    for row in observed.requests:
        name, prospect, at = row["account_id"], row["prospect_id"], (row["account_id"], row["charge_sequence"])
        if at in seen:
            yield f"{at}: asked twice"
        seen.add(at)
        asked.add((name, row["position"]))
        if charged.get(at) != prospect or prospect is None:
            yield f"{at}: no charge of {prospect}"
        by = decisions.get((name, row["position"]), {})
        if (by.get("type"), by.get("prospect_id")) != ("prospect-stage-changed", prospect):
            yield f"{at}: asked by decision {row['position']}, which is {by.get('type')} of {by.get('prospect_id')}"
        is_decided = row["status"] in ("approved", "rejected")
        if [row[n] is not None for n in ("operator", "reason", "decided_position")] != [is_decided] * 3:
            yield f"{at}: {row['status']} by {row['operator']} because of {row['reason']}"
        refund = refunded_by.get(at)
        if is_decided:
            decided.add((name, row["decided_position"]))
            yield from _decided_request(row, decisions.get((name, row["decided_position"])), refund)
        elif row["status"] == "waiting" and refund is not None:
            yield f"{at}: waits, and was refunded by decision {refund}"
        elif row["status"] == "overtaken" and refund is None and (name, prospect) not in forfeited:
            yield f"{at}: overtaken by no refund"
    for name, position in decisions:
        decision = decisions[name, position]
        if decision["type"] in ("refund-approved", "refund-rejected") and (name, position) not in decided:
            yield f"{name}: decision {position} is {decision['type']} of no request"
        if decision["outcome"] == "refund-requested" and (name, position) not in asked:
            yield f"{name}: decision {position} asked for a refund, and there is no request"


def _decided_request(row: Row, decision: Row | None, refund: int | None) -> Violations:
    at = row["account_id"], row["charge_sequence"]
    said = (decision["type"], decision["prospect_id"]) if decision else None
    if decision is None or said != (f"refund-{row['status']}", row["prospect_id"]):
        yield f"{at}: {row['status']} by {said}"
    elif (decision["outcome"] == "refunded") != (refund == row["decided_position"]):
        yield f"{at}: {row['status']} with the outcome {decision['outcome']}, refunded by decision {refund}"


def _purchases(observed: Observed) -> Violations:
    """A purchase is counted once, with the credits that were bought, until they expire."""
    decisions = _by_position(observed)
    events = events_by_place(observed)
    granted: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for grant in observed.grants:
        if grant["origin"] == "purchase":
            granted[grant["account_id"], grant["position"]].append(grant)
    entered = Counter(
        (entry["account_id"], entry["position"]) for entry in observed.entries if entry["reason"] == "purchase"
    )
    counted: dict[tuple[str, int], str] = {}
    once: set[tuple[str, str]] = set()
    for row in observed.purchases:
        name, purchase, at = row["account_id"], row["purchase_id"], (row["account_id"], row["position"])
        if (name, purchase) in once or at in counted:
            yield f"{name}: purchase {purchase} is counted twice"
        once.add((name, purchase))
        counted[at] = purchase
        decision = decisions.get(at, {})
        if (decision.get("type"), decision.get("outcome")) not in (
            ("credits-purchased", "purchased"),
            ("opening", "opened"),
        ):
            yield f"{at}: purchase {purchase} is {decision.get('outcome')} by {decision.get('type')}"
        if len(granted.pop(at, [])) != 1:
            yield f"{at}: purchase {purchase} has not one grant"
    yield from (f"{at}: a grant of a purchase that is not counted" for at in granted)
    grants = {(g["account_id"], g["position"]): g for g in observed.grants if g["origin"] == "purchase"}
    for at, decision in decisions.items():
        if decision["type"] != "credits-purchased":
            continue
        is_counted = decision["outcome"] == "purchased"
        if entered[at] != is_counted or (at in counted) != is_counted:
            yield f"{at}: a purchase is {decision['outcome']}, and entered {entered[at]} times"
        event = events.get(_origin(observed.prefix, decision))
        if event is None:
            continue  # its log has lost its beginning
        if (at[0], event.data["purchase_id"]) not in once:
            yield f"{at}: purchase {event.data['purchase_id']} is not counted"
        if is_counted and at in grants:
            until = event.data["expires_at"] and datetime.fromisoformat(event.data["expires_at"].upper())
            bought, grant = (event.data["credits"], until), grants[at]
            if counted.get(at) != event.data["purchase_id"] or bought != (grant["amount"], grant["expires_at"]):
                yield f"{at}: bought was {event.data['purchase_id']} of {bought}"


def _adjustments(observed: Observed) -> Violations:
    """What a person gave or took is one change of just that; what was given is one grant."""
    ordered = {(row["account_id"], row["position"]): row for row in observed.adjustments}
    granted = Counter(
        (grant["account_id"], grant["position"], grant["amount"], grant["expires_at"])
        for grant in observed.grants
        if grant["origin"] == "adjustment"
    )
    changed: dict[tuple[str, int], list[int]] = defaultdict(list)
    for name, changes in changes_of(observed).items():
        for change in changes:
            if change.first["reason"] == "adjustment":
                changed[name, change.first["position"]].append(change.delta)
    for at, decision in _by_position(observed).items():
        if decision["type"] == "adjustment" and at not in ordered:
            yield f"{at}: an adjustment of which nobody knows"
    for at, row in ordered.items():
        if changed.pop(at, []) != [row["amount"]]:
            yield f"{at}: adjusted by {row['amount']}, its entries say otherwise"
        if granted.pop((*at, row["amount"], row["expires_at"]), 0) != (row["amount"] > 0):
            yield f"{at}: adjusted by {row['amount']} until {row['expires_at']}, its grant says otherwise"
    yield from (f"{at}: changed by an adjustment that nobody ordered" for at in changed)
    yield from (f"{grant[:2]}: a grant of an adjustment that nobody ordered" for grant in granted)


def _declines(observed: Observed) -> Violations:
    """Who was declined had no credits at that point, and was not unlimited."""
    balances = Balances(observed)
    for row in observed.decisions:
        if row["outcome"] == "declined" and 0 not in balances.at(row["account_id"], row["position"]):
            had = sorted(map(str, balances.at(row["account_id"], row["position"])))
            yield f"{row['account_id']}: decision {row['position']} declined at a balance of {' or '.join(had)}"


def _positions(observed: Observed) -> Violations:
    """Decisions are numbered without gaps; a period begins once, after the one before it."""
    given: dict[str, list[int]] = defaultdict(list)
    for decision in observed.decisions:
        given[decision["account_id"]].append(decision["position"])
    for account in observed.accounts:
        positions = given.pop(account["account_id"], [])
        if positions != list(range(1, account["position"] + 1)):
            yield f"{account['account_id']}: {len(positions)} decisions, the last number is {account['position']}"
    yield from (f"{name}: decisions and no account" for name in given)
    turned: dict[str, datetime] = {}
    for decision in observed.decisions:
        name, at = decision["account_id"], decision["occurred_at"]
        if decision["type"] == "renewal":
            if name in turned and at <= turned[name]:
                yield f"{name}: renewed for {at} after {turned[name]}"
            turned[name] = at


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
    retried: set[Place] = set()
    for message in observed.incoming:
        letter = letters.pop(message.place, None)
        if letter is not None:
            yield from _is_the_original(letter, message)
            # One that was retried has ended as any other message does, at any time.
            if letter["status"] != "resolved":
                continue
            retried.add(message.place)
        if message.place[0] in paused:
            continue
        try:
            event = read_event(message)
        except UNREADABLE as error:
            yield f"{message.place} cannot be read ({error!r}) and is no dead letter"
            continue
        places[event.key][message.place] = event
    if not observed.gaps:
        yield from (f"dead letter {place} was never sent" for place in letters)
        yield from (f"{key} was decided and never sent" for key in (decided.keys() | parked.keys()) - places.keys())
    for key, sent in places.items():
        yield from _ended_once(observed.prefix, decided.get(key) or parked.get(key), sent, retried)
    for row in observed.decisions:
        if (row["source"] == OWN_SOURCE) != (row["outcome"] in OWN_TYPES.get(row["type"], ())):
            yield f"{_key(row)} is {row['outcome']}, {row['type']} from {row['source']}"


def _ended_once(prefix: str, row: Row | None, sent: dict[Place, Event], retried: set[Place]) -> Violations:
    if row is None:
        yield f"{sorted(sent)} was lost: no decision, not parked, no dead letter"
        return
    first = _origin(prefix, row)
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
    if (letter["key"], letter["value"], headers) != (message.key, message.value, message.headers):
        yield f"dead letter {message.place} has not the bytes that were sent"


def _changes_out(observed: Observed, *, repeats: bool) -> Violations:
    """Every balance change is out once, in order, as the ledger has it."""
    decisions = _by_position(observed)
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


def _by_position(observed: Observed) -> dict[tuple[str, int], Row]:
    return {(row["account_id"], row["position"]): row for row in observed.decisions}


def _origin(prefix: str, row: Row) -> Place:
    """Where what was decided lies."""
    return prefix + row["type"], row["partition"], row["offset"]


def _place(row: Row) -> Place:
    return row["topic"], row["partition"], row["offset"]


def _key(row: Row) -> tuple[str, str, str]:
    return row["account_id"], row["source"], row["id"]


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None

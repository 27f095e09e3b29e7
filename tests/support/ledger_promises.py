"""The promises of the ledger, checked on its rows and the sent messages; shares no code with the service."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from support.observed import Observed, Place, Row
from support.retold import BRINGS, Balances, events_by_place

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

Violations = Iterator[str]


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


def balance(observed: Observed) -> Violations:
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


def grants(observed: Observed) -> Violations:
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


def causes(observed: Observed) -> Violations:
    """Every change has a decision of a type that may bring it about."""
    decisions = by_position(observed)
    for name, changes in changes_of(observed).items():
        for change in changes:
            row = change.first
            decision = decisions.get((name, row["position"]))
            if decision is None:
                yield f"{name}: sequence {row['sequence']} has no decision"
            elif decision["type"] not in CAUSES.get(row["reason"], ()):
                yield f"{name}: sequence {row['sequence']} is a {row['reason']} by {decision['type']}"


def charges(observed: Observed) -> Violations:
    """A stay is charged for once; a refund gives back one charge of the same prospect, once."""
    decisions = by_position(observed)
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
    counted = Counter[tuple[str, int, str]]()
    for name, changes in changes_of(observed).items():
        for row in (change.first for change in changes):
            decision = decisions.get((name, row["position"]))
            if decision is None or row["reason"] not in ("charge", "refund"):
                continue
            counted[name, row["position"], row["reason"]] += 1
            prospect = decision["prospect_id"]
            if row["reason"] == "charge":
                charged[name, row["sequence"]] = prospect
                made_by[name, row["sequence"]] = row["position"]
                alive[name, prospect] += 1
                alive_by[name, row["position"]] += 1
                # Of two stays that a delete parts when it is told later, both may go back to one report.
                parted = sum(at > row["position"] for at in deleted[name, prospect])
                if alive_by[name, row["position"]] > 1 + parted:
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
        count = counted[name, position, "charge"]
        # The stay of what was free may turn out to be one of its own, by a delete that comes late; what was opened with
        # its account and refunded may turn out to have been deleted before.
        was_parted = outcome in ("free", "opened") and any(at > position for at in deleted[name, row["prospect_id"]])
        if (outcome == "charged" and not count) or (count and outcome != "charged" and not was_parted):
            yield f"{name}: decision {position} is {outcome}, entries say otherwise"
        # A delete that is told later may show that the bounce is of a second stay: what it gave back is charged anew
        # for the first one, and it gives back the charge of the second.
        parted = sum(at > position for at in deleted[name, row["prospect_id"]])
        if outcome == "refunded" and not 1 <= counted[name, position, "refund"] <= 1 + parted:
            yield f"{name}: decision {position} is refunded, entries say otherwise"


def requests(observed: Observed) -> Violations:
    """A request is of one charge of its prospect, waits only while that is not given back, and is decided once."""
    decisions = by_position(observed)
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


def purchases(observed: Observed) -> Violations:
    """A purchase is counted once, with the credits that were bought, until they expire."""
    decisions = by_position(observed)
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
        event = events.get(origin(observed.prefix, decision))
        if event is None:
            continue  # its log has lost its beginning
        if (at[0], event.data["purchase_id"]) not in once:
            yield f"{at}: purchase {event.data['purchase_id']} is not counted"
        if is_counted and at in grants:
            until = event.data["expires_at"] and datetime.fromisoformat(event.data["expires_at"].upper())
            bought, grant = (event.data["credits"], until), grants[at]
            if counted.get(at) != event.data["purchase_id"] or bought != (grant["amount"], grant["expires_at"]):
                yield f"{at}: bought was {event.data['purchase_id']} of {bought}"


def adjustments(observed: Observed) -> Violations:
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
    for at, decision in by_position(observed).items():
        if decision["type"] == "adjustment" and at not in ordered:
            yield f"{at}: an adjustment of which nobody knows"
    for at, row in ordered.items():
        if changed.pop(at, []) != [row["amount"]]:
            yield f"{at}: adjusted by {row['amount']}, its entries say otherwise"
        if granted.pop((*at, row["amount"], row["expires_at"]), 0) != (row["amount"] > 0):
            yield f"{at}: adjusted by {row['amount']} until {row['expires_at']}, its grant says otherwise"
    yield from (f"{at}: changed by an adjustment that nobody ordered" for at in changed)
    yield from (f"{grant[:2]}: a grant of an adjustment that nobody ordered" for grant in granted)


def declines(observed: Observed) -> Violations:
    """Who was declined had no credits at that point, and was not unlimited."""
    balances = Balances(observed)
    for row in observed.decisions:
        if row["outcome"] == "declined" and 0 not in balances.at(row["account_id"], row["position"]):
            had = sorted(map(str, balances.at(row["account_id"], row["position"])))
            yield f"{row['account_id']}: decision {row['position']} declined at a balance of {' or '.join(had)}"


def positions(observed: Observed) -> Violations:
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


def by_position(observed: Observed) -> dict[tuple[str, int], Row]:
    return {(row["account_id"], row["position"]): row for row in observed.decisions}


def origin(prefix: str, row: Row) -> Place:
    """Where what was decided lies."""
    return prefix + row["type"], row["partition"], row["offset"]

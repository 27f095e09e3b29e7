"""The history of each prospect, computed as simply as possible, and compared with the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from support.observed import UNREADABLE, Event, Observed, Place, Row, read_event

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
KEPT_MAX = 30
# At the same instant they occur in this order.
ORDER = (
    "plan-changed credits-purchased prospect-imported prospect-generated prospect-exported prospect-transferred "
    "prospect-stage-changed email-bounced prospect-deleted"
).split()
BRINGS = ("prospect-generated", "prospect-exported")

Violations = Iterator[str]


def events_by_place(observed: Observed) -> dict[Place, Event]:
    """What can be read of what came in."""
    events = {}
    for message in observed.incoming:
        try:
            events[message.place] = read_event(message)
        except UNREADABLE:
            continue
    return events


class Balances:
    """What each account may have had when a decision was made.

    Not all changes lie behind their own decision: a plan for later takes effect, and what was remembered of a prospect
    comes to its effect, under the number of the decision that brought it, and later.
    """

    def __init__(self, observed: Observed) -> None:
        self._changes: dict[str, list[tuple[int, bool, int | None]]] = defaultdict(list)
        decisions = {(row["account_id"], row["position"]): row for row in observed.decisions}
        for entry in observed.entries:
            if entry["line"] == 0:
                decision = decisions.get((entry["account_id"], entry["position"]))
                change = entry["position"], _may_come_later(entry, decision), entry["balance"]
                self._changes[entry["account_id"]].append(change)

    def at(self, account_id: str, position: int) -> set[int | None]:
        """Just before or after that decision."""
        changes = self._changes[account_id]
        balances = [0, *(balance for _, _, balance in changes)]
        surely = [n for n, (at, is_late, _) in enumerate(changes, start=1) if at < position and not is_late]
        not_yet = [n for n, (at, _, _) in enumerate(changes) if at > position]
        return set(balances[max(surely, default=0) : min(not_yet, default=len(changes)) + 1])


def _may_come_later(entry: Row, decision: Row | None) -> bool:
    if decision is None:
        return True
    match entry["reason"]:
        case "plan_change":
            return bool(entry["occurred_at"] != decision["occurred_at"])
        case "refund":
            return bool(decision["outcome"] != "refunded")
        case "charge":
            return bool(decision["outcome"] != "charged")
    return False


@dataclass
class Told:
    """One decision about a prospect: `kind` says what it tells."""

    kind: str
    row: Row

    @property
    def order(self) -> tuple[datetime, int, str, str]:
        if self.kind in ("opened", "approved", "rejected"):
            return LONG_AGO, 0, "", ""
        return self.row["occurred_at"], ORDER.index(self.row["type"]), self.row["source"], self.row["id"]


@dataclass
class Stay:
    """From what brought it to its delete; `charge` is the sequence."""

    is_paid: bool
    charge: int | None = None
    has_bounced: bool = False
    is_settled: bool = False
    is_requested: bool = False


@dataclass
class Story:
    """All that was told of one prospect, in the order in which it was decided, and what the entries say of it."""

    name: str
    told: list[Told] = field(default_factory=list)
    charges: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    refunds: Counter[int] = field(default_factory=Counter)
    requests: dict[int, Row] = field(default_factory=dict)

    def having(self, *kinds: str) -> list[Told]:
        return [told for told in self.told if told.kind in kinds]

    @property
    def events(self) -> list[Told]:
        """Without what people decided."""
        return [told for told in self.told if told.kind not in ("approved", "rejected")]

    @property
    def is_in_order(self) -> bool:
        return self.events == sorted(self.events, key=lambda told: told.order)


def stories_of(observed: Observed) -> list[Story]:
    """The story of each prospect whose messages can all be read."""
    events = events_by_place(observed)
    stories: dict[tuple[str, str], Story] = {}
    unknown = set()
    by_position = {}
    for row in observed.decisions:
        if row["prospect_id"] is None:
            continue
        at = row["account_id"], row["prospect_id"]
        story = by_position[row["account_id"], row["position"]] = stories.setdefault(at, Story(f"{at[0]}/{at[1]}"))
        kind = _kind(observed.prefix, row, events)
        if kind is None:
            unknown.add(at)
        else:
            story.told.append(Told(kind, row))
    for entry in observed.entries:
        of = by_position.get((entry["account_id"], entry["position"]))
        if of is not None and entry["line"] == 0:
            if entry["reason"] == "charge":
                of.charges[entry["position"]].append(entry["sequence"])
            elif entry["reason"] == "refund":
                of.refunds[entry["refunds_sequence"]] += 1
    for request in observed.requests:
        of = stories.get((request["account_id"], request["prospect_id"]))
        if of is not None:
            of.requests[request["charge_sequence"]] = request
    return [story for at, story in stories.items() if at not in unknown]


def _kind(prefix: str, row: Row, events: dict[Place, Event]) -> str | None:
    match row["type"]:
        case "refund-approved" | "refund-rejected":
            return str(row["type"]).removeprefix("refund-")
        case "opening":
            return "opened"
        case "prospect-generated" | "prospect-exported":
            return "brought"
        case "prospect-imported" | "prospect-deleted":
            return str(row["type"]).removeprefix("prospect-")
        case "prospect-transferred":
            return "nothing"
    event = events.get((prefix + row["type"], row["partition"], row["offset"]))
    if event is None:
        return None
    if row["type"] == "email-bounced":
        return "bounced" if event.data["bounce_type"] == "hard" else "nothing"
    return "wrong" if event.data["stage"] == "wrong-email" else "nothing"


def retold(observed: Observed) -> Violations:
    """Each prospect was charged for and refunded as what was told of it says."""
    balances = Balances(observed)
    for story in stories_of(observed):
        if len(story.told) > KEPT_MAX:
            continue
        if story.is_in_order:
            yield from _Retelling(story).violations()
        elif not any(told.row["outcome"] in ("declined", "forfeited") for told in story.told):
            yield from _out_of_order(story, balances)


@dataclass
class _Retelling:
    """What was told in order of occurrence has one outcome each; only whether credits were left is not known here."""

    story: Story
    stay: Stay | None = None
    paid: list[Stay] = field(default_factory=list)
    early: set[str] = field(default_factory=set)
    is_known: bool = False

    def violations(self) -> Violations:
        for told in self.story.told:
            due, said = self._due(told), told.row["outcome"]
            if said != due and not (due == "refunded" and said == "forfeited"):
                yield f"{self.story.name}: decision {told.row['position']} is {said}, not {due}"
        is_forfeit = any(told.row["outcome"] == "forfeited" for told in self.story.told)
        for stay in self.paid:
            if stay.charge is None:
                yield f"{self.story.name}: was brought on and not charged for"
                continue
            if self.story.refunds[stay.charge] != stay.is_settled and not is_forfeit:
                yield f"{self.story.name}: charge {stay.charge} has {self.story.refunds[stay.charge]} refunds"
            if (stay.charge in self.story.requests) != stay.is_requested:
                yield f"{self.story.name}: charge {stay.charge} is asked to be refunded, or should be"
        if left := sum(len(c) for c in self.story.charges.values()) - sum((s.charge or 0) > 0 for s in self.paid):
            yield f"{self.story.name}: {left} charges more than stays"

    def _due(self, told: Told) -> str:
        match told.kind:
            case "brought":
                return self._bring(told)
            case "imported":
                return "no-effect" if self.stay else self._begin("imported", Stay(is_paid=False))
            case "opened":
                is_paid = told.row["note"] != "imported"
                return self._begin("opened", Stay(is_paid, -told.row["position"] if is_paid else None))
            case "bounced" | "wrong":
                return self._complain(told.kind)
            case "deleted":
                was_on, self.stay, self.is_known = self.stay is not None, None, True
                self.early.clear()
                return "deleted" if was_on else "no-effect"
            case "approved":
                asked = (s for s in self.paid if self._request(s).get("decided_position") == told.row["position"])
                return self._settle(next(asked, None))
            case "rejected":
                return "rejected"
            case _:
                return "no-effect"

    def _bring(self, told: Told) -> str:
        if self.stay:
            return "free"
        if told.row["outcome"] == "declined":
            return "declined"
        charges = self.story.charges.get(told.row["position"], [])
        stay = Stay(is_paid=True, charge=charges[0] if charges else None)
        stay.is_settled = "bounced" in self.early
        stay.is_requested = "wrong" in self.early and not stay.is_settled
        return self._begin("charged", stay)

    def _begin(self, outcome: str, stay: Stay) -> str:
        self.stay, self.is_known = stay, True
        self.early.clear()
        if stay.is_paid:
            self.paid.append(stay)
        return outcome

    def _complain(self, kind: str) -> str:
        if self.stay is None:
            if not self.is_known:
                self.early.add(kind)
            return "no-effect" if self.is_known else "awaiting-charge"
        if not self.stay.is_paid or self.stay.is_settled:
            return "no-effect"
        if kind == "bounced":
            return self._settle(self.stay)
        if self.stay.is_requested:
            return "no-effect"
        self.stay.is_requested = True
        return "refund-requested"

    def _settle(self, stay: Stay | None) -> str:
        if stay is None or stay.is_settled:
            return "nothing to be refunded"
        stay.is_settled = True
        return "refunded"

    def _request(self, stay: Stay) -> Row:
        return self.story.requests.get(stay.charge or 0, {})


def _out_of_order(story: Story, balances: Balances) -> Violations:
    """As many charges are alive as there are stays that cost and did not bounce, less those that people gave back."""
    due = sum(stay.is_paid and not stay.has_bounced for stay in _stays(story))
    opened = sum(told.row["note"] != "imported" for told in story.having("opened"))
    alive = opened + sum(map(len, story.charges.values())) - story.refunds.total()
    least = due - len(story.having("approved"))
    # A delete that comes late may part a stay in two when there is no credit left for the second.
    if any(0 in balances.at(told.row["account_id"], told.row["position"]) for told in story.having("deleted")):
        least = 0
    if not least <= alive <= due:
        yield f"{story.name}: {alive} charges are alive where {due} are due"


def _stays(story: Story) -> list[Stay]:
    """As they come of what was told, in order of occurrence."""
    stays: list[Stay] = []
    now: Stay | None = None
    bounced = was_deleted = False
    for told in sorted(story.events, key=lambda told: told.order):
        is_bring = told.kind in ("brought", "imported", "opened")
        if is_bring and now is None:
            is_paid = told.kind == "brought" or (told.kind == "opened" and told.row["note"] != "imported")
            now = Stay(is_paid, has_bounced=bounced)
            stays.append(now)
        elif told.kind == "deleted":
            now, bounced, was_deleted = None, False, True
        elif told.kind == "bounced" and now is not None:
            now.has_bounced = True
        elif told.kind == "bounced" and not was_deleted:
            bounced = True
    return stays

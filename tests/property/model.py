"""A second, simple implementation of the rules of credit: each credit is a token with its expiry.

It shares nothing with the domain, and has one account.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

# The order of events of the same instant.
KINDS = "plan purchase imported generated exported transferred staged bounced deleted".split()
BRINGS = {"imported", "generated", "exported"}

FORGOTTEN = "forgotten"

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)
DAY = timedelta(days=1)
OLD_MONTHS = 24


@dataclass(eq=False)
class Token:
    """One credit. `block` numbers the grants."""

    origin: str
    expires: datetime | None
    since: datetime
    block: int
    spent: bool = False

    def ends_by(self, at: datetime) -> bool:
        return self.expires is not None and self.expires <= at


@dataclass
class Announced:
    """A plan: the one with the greater `order` wins, and it takes effect when `due`."""

    limit: int | None
    order: tuple[datetime, datetime, int]
    due: datetime


@dataclass(frozen=True, order=True)
class Fact:
    """An event of a prospect; facts sort as they occurred. A forgotten one only marks its time."""

    at: datetime
    rank: int
    name: str
    kind: str

    def forgotten(self) -> Fact:
        return replace(self, kind=FORGOTTEN)


@dataclass(eq=False)
class Charge:
    """The charge of a prospect. `token` is None if it took none; `belongs_to` is the fact that it goes with."""

    sequence: int
    token: Token | None
    brought_by: Fact
    belongs_to: Fact
    given_back: bool = False
    closed: bool = False
    requested: bool = False


@dataclass
class Prospect:
    """`over` is the time of the last delete that was forgotten: facts up to then have no effect any more."""

    facts: list[Fact] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    over: datetime | None = None

    def chapters(self) -> list[list[Fact]]:
        """The facts from delete to delete, in order; each chapter has the delete that ends it."""
        chapters: list[list[Fact]] = [[]]
        for fact in sorted(self.facts):
            chapters[-1].append(fact)
            if fact.kind == "deleted":
                chapters.append([])
        return chapters

    def stays(self) -> list[list[Fact]]:
        """The chapters in which the prospect was brought on; the facts that count, in order.

        A fact from before it was brought on counts only in the first chapter.
        """
        chapters = self.chapters()
        whole = 0 if self.over else 1
        later = [
            [fact for fact in chapter if fact >= min(brings(chapter))]
            for chapter in chapters[whole:]
            if brings(chapter)
        ]
        return [chapter for chapter in chapters[:whole] if brings(chapter)] + later

    def stay_of(self, fact: Fact) -> list[Fact]:
        return next((stay for stay in self.stays() if fact in stay), [])

    def remember_only(self, number: int) -> None:
        """Forgets the facts that can be spared, oldest first; then whole chapters, oldest first."""
        while sum(fact.kind != FORGOTTEN for fact in self.facts) > number:
            spare = [fact for chapter in self.chapters() for fact in chapter if can_be_spared(fact, chapter)]
            ends = [fact.at for fact in self.facts if fact.kind == "deleted"]
            if spare:
                self._forget(spare[0])
            elif ends:
                self._end(min(ends))
            else:
                return

    def _forget(self, fact: Fact) -> None:
        self.facts.remove(fact)
        self.facts.append(fact.forgotten())
        for charge in self.charges:
            charge.brought_by = fact.forgotten() if charge.brought_by == fact else charge.brought_by
            charge.belongs_to = fact.forgotten() if charge.belongs_to == fact else charge.belongs_to

    def _end(self, at: datetime) -> None:
        self.over = at
        self.facts = [fact for fact in self.facts if fact.at > at]
        self.charges = [charge for charge in self.charges if charge.belongs_to.at > at]


def can_be_spared(fact: Fact, chapter: list[Fact]) -> bool:
    """Whether the chapter has the same effect without the fact, wherever a late delete or a late charge is added.

    The last fact of a chapter is never spared.
    """
    known = [other for other in chapter if other.kind not in ("deleted", FORGOTTEN)]
    if fact not in known or fact == max(known):
        return False
    before, after = [o for o in known if o < fact], [o for o in known if o > fact]
    if fact.kind in BRINGS:
        return bool(brings(before)) and bool(brings(after))
    was_on = bool(brings(before))
    return any(o.kind == fact.kind and (not was_on or min(brings(before)) < o) for o in before)


def brings(facts: list[Fact]) -> list[Fact]:
    return [fact for fact in facts if fact.kind in BRINGS]


def turn_of_month(anchor: datetime, zone: str, number: int) -> datetime:
    """The begin of month `number`: the anchor's day and time there, or the last day of that month."""
    place = ZoneInfo(zone)
    first = anchor.astimezone(place)
    months = first.year * 12 + first.month - 1 + number
    day = first.day
    while True:
        try:
            wall = datetime(months // 12, months % 12 + 1, day, first.hour, first.minute, first.second)  # noqa: DTZ001
            break
        except ValueError:
            day -= 1
    return when_clocks_show(wall, place)


def when_clocks_show(wall: datetime, place: ZoneInfo) -> datetime:
    earlier, later = ((wall + days).replace(tzinfo=UTC).astimezone(place).utcoffset() for days in (-DAY, DAY))
    assert earlier is not None
    assert later is not None
    candidates = sorted((wall - offset).replace(tzinfo=UTC) for offset in {earlier, later})
    shown = [c for c in candidates if c.astimezone(place).replace(tzinfo=None) == wall]
    # Neither offset gives a wall time that the clock skips.
    return shown[0] if shown else (wall - earlier).replace(tzinfo=UTC)


@dataclass
class Model:
    """One account. `late_refund` is `current-period`, `forfeit`, or a number of days.

    At most `seats` events wait for the first plan; more are refused, and may be sent again. `remembered` is how many
    facts of a prospect it keeps; it keeps more only while all are needed and no chapter has ended.
    """

    late_refund: str | int = "current-period"
    seats: int = 10_000
    remembered: int = 32
    anchor: datetime | None = None
    zone: str = "UTC"
    month: int = 0
    tokens: list[Token] = field(default_factory=list)
    blocks: int = 0
    unlimited: bool = False
    plan: Announced | None = None
    announced: list[Announced] = field(default_factory=list)
    granted: int = 0
    declined: int = 0
    position: int = 0
    changes: list[tuple[str, int, int | None]] = field(default_factory=list)
    prospects: dict[str, Prospect] = field(default_factory=dict)
    purchases: set[str] = field(default_factory=set)
    requests: dict[int, str] = field(default_factory=dict)
    charge_of_request: dict[int, Charge] = field(default_factory=dict)
    known: dict[str, object] = field(default_factory=dict)
    waiting: list[tuple[datetime, int, str, dict[str, object]]] = field(default_factory=list)
    commands: dict[str, tuple[object, str]] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(not token.spent for token in self.tokens)

    @property
    def held_by_origin(self) -> dict[str, int]:
        return dict(Counter(token.origin for token in self.tokens if not token.spent))

    # Events.

    def happens(self, name: str, kind: str, at: datetime, written: datetime, **fields: object) -> str:
        """Decides one event; `name` is its id, and `written` its append time."""
        content = (kind, fields)
        if name in self.known:
            return "duplicate" if self.known[name] == content else "conflict"
        if not self.anchor and kind != "plan" and len(self.waiting) == self.seats:
            return "parked-full"
        self.known[name] = content
        if self.waiting if self.anchor else kind != "plan":
            self.waiting.append((at, KINDS.index(kind), name, fields))
            return "parked"
        if kind == "plan" and self.anchor is None:
            outcome = self._first_plan(at, written, **fields)  # type: ignore[arg-type] # the caller's matter
        else:
            outcome = self._apply(kind, at, name, fields)
        self._unpark()
        return outcome

    def passes(self, at: datetime) -> None:
        """Decides parked events, then runs the timers up to `at`."""
        self._unpark()
        self._time_passes(at)

    def _unpark(self) -> None:
        if self.anchor is None:
            return
        waiting, self.waiting = sorted(self.waiting, key=lambda w: w[:3]), []
        for at, rank, name, fields in waiting:
            self._apply(KINDS[rank], at, name, fields)

    def _apply(self, kind: str, at: datetime, name: str, fields: dict[str, object]) -> str:
        if kind == "plan":
            return self._plan_changed(at, **fields)  # type: ignore[arg-type] # the caller's matter
        self._time_passes(at)
        self.position += 1
        if kind == "purchase":
            return self._purchased(at, **fields)  # type: ignore[arg-type]
        if kind == "transferred" or fields.get("hard") is False or fields.get("stage") not in (None, "wrong-email"):
            return "no-effect"
        return self._add_fact(str(fields["prospect"]), Fact(at, KINDS.index(kind), name, kind))

    # Commands.

    def decide(self, sequence: int, *, approve: bool, name: str, at: datetime) -> str:
        def does() -> str:
            self.requests[sequence] = "approved" if approve else "rejected"
            return self._give_back(self.charge_of_request[sequence], at) if approve else "rejected"

        was_there = sequence in self.requests
        if f"refund {name}" not in self.commands:
            self._unpark()
        reasons = {None: "unknown-request", "waiting": "", "overtaken": "already-refunded"}
        # The operator did not know a request that only now was opened.
        refusal = reasons.get(self.requests.get(sequence) if was_there else None, "already-decided")
        return self._ordered(f"refund {name}", (sequence, approve), refusal, at, does)

    def adjust(self, amount: int, expires: datetime | None, *, name: str, at: datetime) -> str:
        def does() -> str:
            self._give("adjustment", max(amount, 0), expires, at)
            for token in self._in_burn_order()[: max(-amount, 0)]:
                token.spent = True
            self._note("adjustment", amount)
            return "adjusted"

        if f"adjustment {name}" not in self.commands:
            self._unpark()
            self._time_passes(at)
        refusal = "below-zero" if self.held + amount < 0 else ""
        refusal = "expired" if expires is not None and expires <= at else refusal
        refusal = refusal if self.anchor else "not-open"
        return self._ordered(f"adjustment {name}", (amount, expires), refusal, at, does)

    def open_account(self, limit: int | None, remaining: int, anchor: datetime, zone: str, at: datetime) -> str:
        def does() -> str:
            self._begin_months(anchor, zone, at)
            self.plan = Announced(limit, (at, at, self.position), at)
            self.unlimited = limit is None
            self.granted = limit or 0
            self._give("opening", remaining, self._month_ends(), at)
            if remaining or self.unlimited:
                self._note("opening", remaining)
            return "opened"

        refusal = "has-a-plan" if self.anchor else ""
        return self._ordered("account", (limit, remaining, anchor, zone), refusal, at, does)

    def open_purchase(self, purchase: str, remaining: int, expires: datetime | None, at: datetime) -> str:
        def does() -> str:
            self.purchases.add(purchase)
            self._give("purchase", remaining, expires, at)
            self._note("opening", remaining)
            return "opened"

        refusal = "expired" if expires is not None and expires <= at else ""
        refusal = "purchase-known" if purchase in self.purchases else refusal
        refusal = refusal if self.anchor else "not-open"
        return self._ordered(f"purchase {purchase}", (remaining, expires), refusal, at, does)

    def open_prospect(self, prospect: str, kind: str, at: datetime) -> str:
        known = self.prospects.setdefault(prospect, Prospect())

        def does() -> str:
            fact = Fact(LONG_AGO, KINDS.index(kind), "", kind)
            if kind != "imported":
                token = None if self.unlimited else Token("gone", LONG_AGO, LONG_AGO, 0, spent=True)
                known.charges.append(Charge(-self.position, token, fact, fact))
            self._add_fact(prospect, fact, at)
            return "opened"

        refusal = "prospect-known" if brings(known.facts) or known.over else ""
        refusal = refusal if self.anchor else "not-open"
        return self._ordered(f"prospect {prospect}", kind, refusal, at, does)

    def _ordered(self, name: str, content: object, refusal: str, at: datetime, does: Callable[[], str]) -> str:
        if name in self.commands:
            before, outcome = self.commands[name]
            return outcome if before == content else "conflict"
        if refusal:
            return refusal
        # Events parked behind an opening stay parked: more may be opened that they need.
        if not self.waiting:
            self._time_passes(at)
        self.position += 1
        outcome = does()
        self.commands[name] = content, outcome
        return outcome

    # Prospects.

    def _add_fact(self, name: str, new: Fact, at: datetime | None = None) -> str:
        prospect = self.prospects.setdefault(name, Prospect())
        if prospect.over and new.at <= prospect.over:
            return "too-late"
        prospect.facts.append(new)
        outcome = self._outcome(prospect, new, self._agree(prospect, new, at or new.at))
        prospect.remember_only(self.remembered)
        return outcome

    def _outcome(self, prospect: Prospect, new: Fact, effects: dict[Fact, str]) -> str:
        if new.kind == "deleted":
            return "deleted" if prospect.stay_of(new) else "no-effect"
        if new in effects:
            return effects[new]
        if new.kind == "imported":
            return "imported" if brings(prospect.stay_of(new))[0] == new else "no-effect"
        if new.kind in BRINGS:
            return "free"
        is_known = prospect.over or any(fact.kind in BRINGS or fact.kind == "deleted" for fact in prospect.facts)
        return "no-effect" if is_known else "awaiting-charge"

    def _agree(self, prospect: Prospect, new: Fact, at: datetime) -> dict[Fact, str]:
        """Charges and refunds until the charges follow from the facts; returns the effect of each fact."""
        effects: dict[Fact, str] = {}
        unpaid: Fact | None = new
        while unpaid:
            # A late delete may come before the fact that refunded a charge: the stay is then charged again, unless the
            # refund is forfeited.
            for charge in [c for c in prospect.charges if not prospect.stay_of(c.belongs_to)]:
                if not charge.closed:
                    self._give_back(charge, at)
                if charge.given_back:
                    prospect.charges.remove(charge)
                charge.belongs_to = charge.brought_by
            unpaid = None
            for stay in prospect.stays():
                unpaid = unpaid or self._agree_on(prospect, stay, new, effects)
            if unpaid:
                prospect.facts.remove(unpaid)
                effects[unpaid] = "declined"
                self.declined += unpaid == new
        return effects

    def _agree_on(self, prospect: Prospect, stay: list[Fact], new: Fact, effects: dict[Fact, str]) -> Fact | None:
        """Settles one stay; returns the fact whose charge was declined."""
        first = brings(stay)[0]
        charge = next((c for c in prospect.charges if c.belongs_to in stay), None)
        if charge is None and first.kind != "imported":
            charge = self._charge(first)
            if charge is None:
                return first
            prospect.charges.append(charge)
            effects[first] = "charged"
        if charge is None or charge.closed:
            return None
        bounced = next((fact for fact in stay if fact.kind == "bounced"), None)
        wrong = next((fact for fact in stay if fact.kind == "staged"), None)
        if first.kind == "imported":
            effects[new] = self._give_back(charge, new.at)
            if charge.given_back:
                prospect.charges.remove(charge)
        elif bounced:
            effects[bounced] = self._give_back(charge, bounced.at)
            if charge.given_back:
                charge.belongs_to = bounced
        elif wrong and not charge.requested:
            charge.requested, charge.belongs_to = True, wrong
            self.requests[charge.sequence], self.charge_of_request[charge.sequence] = "waiting", charge
            effects[wrong] = "refund-requested"
        return None

    def _charge(self, fact: Fact) -> Charge | None:
        token = None
        if not self.unlimited:
            left = self._in_burn_order()
            if not left:
                return None
            token = left[0]
            token.spent = True
        self._note("charge", -1 if token else 0)
        return Charge(len(self.changes), token, fact, fact)

    def _in_burn_order(self) -> list[Token]:
        left = [token for token in self.tokens if not token.spent]
        return sorted(left, key=lambda t: (t.expires or NEVER, t.since, t.block))

    def _give_back(self, charge: Charge, at: datetime) -> str:
        charge.closed = True
        if self.requests.get(charge.sequence) == "waiting":
            self.requests[charge.sequence] = "overtaken"
        if charge.token is not None and charge.token in self.tokens:
            charge.token.spent = False
        elif charge.token is not None:
            if self.late_refund == "forfeit":
                return "forfeited"
            expires = self._month_ends()
            if isinstance(self.late_refund, int):
                expires = self._next_midnight(max(at, self._month_begins()) + self.late_refund * DAY)
            beside = [t for t in self.tokens if t.origin == "refund" and t.expires == expires]
            self._give("refund", 1, expires, at)
            if beside:
                self.tokens[-1].since, self.tokens[-1].block = beside[0].since, beside[0].block
        charge.given_back = True
        self._note("refund", 1 if charge.token else 0)
        return "refunded"

    # Credits and plans.

    def _purchased(self, at: datetime, purchase: str, credits: int, expires: datetime | None) -> str:  # noqa: A002
        if purchase in self.purchases:
            return "no-effect"
        self.purchases.add(purchase)
        self._give("purchase", credits, expires, at)
        self._note("purchase", credits)
        return "purchased"

    def _first_plan(
        self,
        at: datetime,
        written: datetime,
        limit: int | None,
        effective: datetime | None,
        anchor: datetime | None,
        zone: str | None,
    ) -> str:
        """A plan that is two years old counts from its append time."""
        is_stale = at < turn_of_month(written, zone or "UTC", -OLD_MONTHS)
        since = written if is_stale else at
        self._begin_months(anchor or effective or at, zone or "UTC", since)
        return self._announced(limit, effective or at, at, since)

    def _plan_changed(
        self,
        at: datetime,
        limit: int | None,
        effective: datetime | None,
        anchor: datetime | None,  # noqa: ARG002 - the first one is for good
        zone: str | None,  # noqa: ARG002
    ) -> str:
        self._time_passes(at, up_to_but_without=True)
        return self._announced(limit, effective or at, at, at)

    def _announced(self, limit: int | None, effective: datetime, at: datetime, since: datetime) -> str:
        """Adds the plan of an event of `at`, which counts `since` then."""
        self.position += 1
        new = Announced(limit, (effective, at, self.position), max(effective, since))
        rivals = [a for a in self.announced if a.due <= since] + ([self.plan] if self.plan else [])
        outcome = "plan-pending" if effective > since else "plan-in-force"
        if any(new.order < other.order for other in rivals):
            outcome = "plan-superseded"
        else:
            self.announced.append(new)
        self._time_passes(since)
        return outcome

    def _give(self, origin: str, number: int, expires: datetime | None, at: datetime) -> None:
        self.blocks += 1
        self.tokens += [Token(origin, expires, at, self.blocks) for _ in range(number)]

    def _note(self, reason: str, delta: int) -> None:
        self.changes.append((reason, delta, None if self.unlimited else self.held))

    # Time.

    def _begin_months(self, anchor: datetime, zone: str, at: datetime) -> None:
        self.anchor, self.zone = anchor, zone
        while self._month_begins() > at:
            self.month -= 1
        while self._month_ends() <= at:
            self.month += 1

    def _month_begins(self) -> datetime:
        assert self.anchor is not None
        return turn_of_month(self.anchor, self.zone, self.month)

    def _month_ends(self) -> datetime:
        assert self.anchor is not None
        return turn_of_month(self.anchor, self.zone, self.month + 1)

    def _next_midnight(self, at: datetime) -> datetime:
        """The first midnight that is not before `at`, in the account's zone."""
        place = ZoneInfo(self.zone)
        here = at.astimezone(place).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        return min(m for m in (when_clocks_show(here + days * DAY, place) for days in range(3)) if m >= at)

    def _time_passes(self, at: datetime, *, up_to_but_without: bool = False) -> None:
        while self.anchor is not None:
            expiries = [token.expires for token in self.tokens if token.expires]
            instant = min([self._month_ends(), *expiries, *(a.due for a in self.announced)])
            if instant > at or (up_to_but_without and instant == at):
                return
            is_new_month = instant == self._month_ends()
            over = [token for token in self.tokens if token.ends_by(instant)]
            self.tokens = [token for token in self.tokens if not token.ends_by(instant)]
            self.position += bool(is_new_month or over)
            if unspent := sum(not token.spent for token in over):
                self._note("lapse", -unspent)
            if is_new_month:
                self.month += 1
                self.granted = self.declined = 0
            due = [a for a in self.announced if a.due <= instant]
            self.announced = [a for a in self.announced if a.due > instant]
            for plan in sorted(due, key=lambda a: a.order)[-1:]:
                if self.plan is None or plan.order > self.plan.order:
                    self._put_in_force(plan, instant, also_grant=not is_new_month)
            if is_new_month and self.plan and self.plan.limit:
                self._top_up(instant)
                self._note("renewal", self.granted)

    def _put_in_force(self, plan: Announced, at: datetime, *, also_grant: bool) -> None:
        was_unlimited, self.unlimited = self.unlimited, plan.limit is None
        self.plan = plan
        more = self._top_up(at) if also_grant else 0
        if more or was_unlimited != self.unlimited:
            self._note("plan_change", more)

    def _top_up(self, at: datetime) -> int:
        limit = (self.plan.limit or 0) if self.plan else 0
        more = max(0, limit - self.granted)
        self._give("plan", more, self._month_ends(), at)
        self.granted += more
        return more

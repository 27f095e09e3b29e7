"""Draws events and commands of one account, and compares a service with the model after each step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from credit_contracts.incoming import (
    WRONG_EMAIL,
    BounceType,
    CreditsPurchased,
    EmailBounced,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
)
from credit_service import bounds
from credit_service.domain.command import Adjust, CommandData, DecideRefund, OpenAccount, OpenProspect, OpenPurchase
from credit_service.domain.prospect import ProspectOrigin
from credit_service.domain.rules import LateRefund
from property.model import Model, turn_of_month

DAY = timedelta(days=1)
EVENTS_OF_PROSPECT_MAX = 45
"""More than the history of a prospect keeps."""


@dataclass(frozen=True)
class Change:
    """A balance change as others see it."""

    sequence: int
    previous_balance: int | None
    balance: int | None
    delta: int
    reason: str


@dataclass(frozen=True)
class State:
    """The state of the account."""

    held: int
    balance: int | None
    declined: int
    position: int
    by_origin: dict[str, int]
    requests: dict[int, str]


class Service(Protocol):
    """One account in an implementation of the rules of credit. Each call returns once it is done."""

    account_id: str
    late_refund: LateRefund

    @property
    def clock(self) -> datetime:
        """Its clock, which moves on with later events."""

    def happens(self, data: IncomingData, at: datetime, event_id: str) -> str:
        """Sends one event; its outcome."""

    def written_at(self, at: datetime) -> datetime:
        """The append time of an event that occurred at that time and is sent now."""

    def ordered(self, data: CommandData, at: datetime, command_id: str) -> str:
        """Executes one command at that time; the answer."""

    def wait(self, until: datetime) -> None:
        """Runs the timers up to that time."""

    def woken_up_to(self) -> datetime | None:
        """The time up to which timers have run by themselves; None if they never do."""

    def state(self) -> State:
        """The present state."""

    def changes(self, after: int) -> list[Change]:
        """The balance changes after the sequence `after`, in order."""


@dataclass(frozen=True)
class Calendar:
    """The day and time at which the months of an account begin, in its zone."""

    day: int
    hour: int
    minute: int
    zone: str


UTC_MIDNIGHT = Calendar(1, 0, 0, "UTC")
# The second one meets the hour that the clock skips, on 29 March 2026.
CALENDARS = [UTC_MIDNIGHT, UTC_MIDNIGHT, Calendar(31, 8, 0, "Europe/Berlin"), Calendar(29, 1, 30, "Europe/Berlin")]
LATE_REFUNDS = [LateRefund(), LateRefund("forfeit"), LateRefund("days", 5), LateRefund("days", 45)]

prospects = st.sampled_from(["ann", "bob", "cy"])
limits = st.sampled_from([None, 0, 1, 2, 3, 5, 8])
few = st.integers(1, 4)
# Mostly in order, sometimes weeks late.
late_days = st.sampled_from([0, 0, 0, 0, 0.01, 0.5, 3, 5, 40])
AGES_AGO = 1_000
effective_days = st.sampled_from([None, None, 0, -20, -0.5, 0.5, 5, 31, 60])
lasting_days = st.sampled_from([None, None, 0.5, 5.01, 40, 100, "turn", "turn"])
facts = st.sampled_from(["generated", "generated", "exported", "imported", "bounced", "staged", "deleted"])
purchase_ids = st.sampled_from(["p-1", "p-2", "p-3", "p-4", "p-5"])


class AccountMachine(RuleBasedStateMachine):
    """`begin` makes the service; the rules are the possible next steps."""

    service: Service
    year = 2026
    opens_with_parked_events = True

    def begin(self, late_refund: LateRefund) -> Service:
        # Not an ABC: Hypothesis has a metaclass of its own. A machine without a service must not pass.
        raise NotImplementedError

    @initialize(
        calendar=st.sampled_from(CALENDARS),
        late_refund=st.sampled_from(LATE_REFUNDS),
        day=st.sampled_from([0, 0.5, 20]),
        way=st.sampled_from(["plan", "plan", "old plan", "opening", "opening, plan", "later"]),
        limit=limits,
        effective=effective_days,
        remaining=st.integers(0, 3),
    )
    def begins(
        self,
        calendar: Calendar,
        late_refund: LateRefund,
        day: float,
        way: str,
        limit: int | None,
        effective: float | None,
        remaining: int,
    ) -> None:
        self.service = self.begin(late_refund)
        chosen = self.service.late_refund
        kept = chosen.days if chosen.kind == "days" else chosen.kind
        self.model = Model(kept, seats=bounds.PARKED_MAX, remembered=bounds.HISTORY_MAX)
        self.anchor = datetime(self.year, 1, calendar.day, calendar.hour, calendar.minute, tzinfo=UTC)
        self.zone = calendar.zone
        self.at = self.anchor + day * DAY
        self.seen = 0
        self.running: int | None = 0
        self.events_of = Counter[str]()
        self.events: list[tuple[str, str, datetime, dict[str, Any]]] = []
        if way == "plan":
            self._plan(limit, self.at, effective)
        elif way == "old plan":
            self._plan(limit, self.at - AGES_AGO * DAY, effective)
        elif way.startswith("opening"):
            self._open_account(limit, remaining)
            if way == "opening, plan":
                self._plan((limit or 0) + remaining, self.at, effective)
        else:
            for prospect, late in ("ann", 0), ("bob", 3), ("cy", 1):
                self._report(prospect, "generated", late)

    # Time.

    @rule(days=st.sampled_from([0.01, 0.5, 1, 5]))
    def some_days_pass(self, days: float) -> None:
        self.at += timedelta(days=days)

    @rule(months=st.sampled_from([1, 1, 1, 3, 14]))
    def months_begin(self, months: int) -> None:
        """Moves to the instant at which a month begins; an account without a plan is not left alone for a year."""
        for _ in range(months if self.model.anchor else 1):
            self.at = self._next_turn(self.at)

    @rule()
    def timers_wake(self) -> None:
        self.service.wait(self.at)
        self.model.passes(self.at)

    # Plans and purchases.

    @rule(limit=limits, late=late_days, effective=effective_days)
    def plan_changed(self, limit: int | None, late: float, effective: float | None) -> None:
        self._plan(limit, self.at - late * DAY, effective)

    @rule(limit=limits, effective=effective_days)
    def plan_of_long_ago_is_told(self, limit: int | None, effective: float | None) -> None:
        self._plan(limit, self.at - AGES_AGO * DAY, effective)

    @rule(limit=limits)
    def plan_changes_with_the_next_month(self, limit: int | None) -> None:
        days = (self._next_turn(self.at) - self.at) / DAY
        self._plan(limit, self.at, days)

    @rule(purchase=purchase_ids, credits=few, late=late_days, lasting=lasting_days)
    def purchased(self, purchase: str, credits: int, late: float, lasting: float | str | None) -> None:  # noqa: A002
        at = self.at - late * DAY
        self._send("purchase", at, purchase=purchase, credits=credits, expires=self._expiry(at, lasting))

    # Prospects.

    @rule(kind=st.sampled_from("generated generated exported imported".split()), prospect=prospects, late=late_days)
    def brought(self, kind: str, prospect: str, late: float) -> None:
        self._report(prospect, kind, late)

    @rule(prospect=prospects, late=late_days)
    def bounced(self, prospect: str, late: float) -> None:
        self._report(prospect, "bounced", late)

    @rule(prospect=prospects, late=late_days)
    def wrong_email(self, prospect: str, late: float) -> None:
        self._report(prospect, "staged", late)

    @rule(prospect=prospects, late=late_days)
    def deleted(self, prospect: str, late: float) -> None:
        self._report(prospect, "deleted", late)

    @rule(prospect=prospects, things=st.lists(st.tuples(facts, st.integers(0, 4)), min_size=2, max_size=6))
    def much_is_told_in_any_order(self, prospect: str, things: list[tuple[str, int]]) -> None:
        for kind, late in things:
            self._report(prospect, kind, late)

    @rule(prospect=prospects, what=st.sampled_from(["soft bounce", "transfer", "stage"]), late=late_days)
    def something_without_effect(self, prospect: str, what: str, late: float) -> None:
        at = self.at - late * DAY
        if what == "soft bounce":
            self._send("bounced", at, prospect=prospect, hard=False)
        elif what == "transfer":
            self._send("transferred", at, prospect=prospect)
        else:
            self._send("staged", at, prospect=prospect, stage="contacted")

    @precondition(lambda self: self.events)
    @rule(number=st.integers(0, 99), late=st.sampled_from([None, None, 0, 5]), is_other=st.booleans())
    def said_again(self, number: int, late: float | None, *, is_other: bool) -> None:
        """The same id with the same content is a repeat, also if its time is another; with other content a conflict."""
        event_id, kind, at, fields = self.events[-1 - number % len(self.events)]
        if is_other:
            kind, fields = "generated", {"prospect": "somebody else"}
        again_at = at if late is None else self.at - late * DAY
        self._send(kind, again_at if _is_valid_at(fields, again_at) else at, event_id=event_id, **fields)

    # Commands.

    @rule(number=st.integers(0, 9), approve=st.booleans(), name=st.sampled_from(["new", "new", "new", "r-1", "r-2"]))
    def refund_is_decided(self, number: int, name: str, *, approve: bool) -> None:
        self._decide(number, name, approve=approve)

    @precondition(lambda self: "waiting" in self.model.requests.values())
    @rule(approve=st.booleans())
    def waiting_refund_is_decided(self, *, approve: bool) -> None:
        waiting = sorted(s for s, status in self.model.requests.items() if status == "waiting")
        self._decide(sorted(self.model.requests).index(waiting[0]), "new", approve=approve)

    @precondition(lambda self: bool({"approved", "rejected", "overtaken"} & set(self.model.requests.values())))
    @rule(approve=st.booleans())
    def settled_refund_is_decided(self, *, approve: bool) -> None:
        settled = sorted(s for s, status in self.model.requests.items() if status != "waiting")
        self._decide(sorted(self.model.requests).index(settled[-1]), "new", approve=approve)

    @rule(
        amount=st.sampled_from([-9, -3, -2, -1, -1, 1, 2, 5]),
        lasting=lasting_days,
        early=st.sampled_from([0, 0, 0, 5.01]),
        name=st.sampled_from(["new", "new", "new", "a-1", "a-2"]),
    )
    def account_is_adjusted(self, amount: int, lasting: float | str | None, early: float, name: str) -> None:
        name = f"{len(self.model.commands)}-{self.model.position}" if name == "new" else name
        expires = self._expiry(self.at - early * DAY, lasting) if amount > 0 else None
        expected = self.model.adjust(amount, expires, name=name, at=self._now())
        assert self.service.ordered(Adjust(amount, expires, "ops", "a reason"), self._now(), name) == expected

    @rule(limit=limits, remaining=st.integers(0, 3))
    def account_is_opened(self, limit: int | None, remaining: int) -> None:
        if self.opens_with_parked_events or not self.model.waiting:
            self._open_account(limit, remaining)

    def _open_account(self, limit: int | None, remaining: int) -> None:
        data = OpenAccount("plan", limit, None, None, self.anchor, self.zone, remaining)
        expected = self.model.open_account(limit, remaining, self.anchor, self.zone, self._now())
        assert self.service.ordered(data, self._now(), "") == expected

    @rule(purchase=purchase_ids, remaining=few, lasting=lasting_days, early=st.sampled_from([0, 0, 0, 5.01]))
    def purchase_is_opened(self, purchase: str, remaining: int, lasting: float | str | None, early: float) -> None:
        expires = self._expiry(self.at - early * DAY, lasting)
        expected = self.model.open_purchase(purchase, remaining, expires, self._now())
        assert self.service.ordered(OpenPurchase(purchase, remaining, expires), self._now(), "") == expected

    @rule(
        prospect=st.sampled_from(["ann-0", "bob-0", "cy-0", "dee"]),
        kind=st.sampled_from(["generated", "exported", "imported"]),
    )
    def prospect_is_opened(self, prospect: str, kind: ProspectOrigin) -> None:
        expected = self.model.open_prospect(prospect, kind, self._now())
        assert self.service.ordered(OpenProspect(prospect, kind), self._now(), "") == expected

    # After each step.

    @invariant()
    def agrees_with_the_model(self) -> None:
        if (up_to := self.service.woken_up_to()) is not None:
            self.model.passes(up_to)
        assert self.service.state() == State(
            self.model.held,
            None if self.model.unlimited else self.model.held,
            self.model.declined,
            self.model.position,
            self.model.held_by_origin,
            self.model.requests,
        )
        new = self.service.changes(self.seen)
        assert [(c.reason, c.delta, c.balance) for c in new] == self.model.changes[self.seen :]
        for change in new:
            assert change.sequence == self.seen + 1
            assert change.previous_balance == self.running
            self.seen, self.running = change.sequence, change.balance

    def _plan(self, limit: int | None, at: datetime, effective: float | None) -> None:
        """The first plan sets where months begin; later plans with another anchor or zone do not change it."""
        is_first = self.model.anchor is None
        anchor = self.anchor if is_first and abs(at - self.anchor) < 4 * 365 * DAY else None
        effective_at = None if effective is None else at + effective * DAY
        zone = self.zone if is_first else "America/New_York"
        self._send("plan", at, limit=limit, effective=effective_at, anchor=anchor, zone=zone)

    def _report(self, prospect: str, kind: str, late: float) -> None:
        """Sends somewhat more events of one prospect than its history keeps; then the next prospect replaces it."""
        self.events_of[prospect] += 1
        name = f"{prospect}-{self.events_of[prospect] // EVENTS_OF_PROSPECT_MAX}"
        of_kind: dict[str, dict[str, Any]] = {"bounced": {"hard": True}, "staged": {"stage": WRONG_EMAIL}}
        self._send(kind, self.at - late * DAY, prospect=name, **of_kind.get(kind, {}))

    def _send(self, kind: str, at: datetime, *, event_id: str = "", **fields: Any) -> None:
        event_id = event_id or f"event-{len(self.events):03}"
        data = data_of(self.service.account_id, kind, **fields)
        outcome = self.service.happens(data, at, event_id)
        assert outcome == self.model.happens(event_id, kind, at, self.service.written_at(at), **fields)
        self.events.append((event_id, kind, at, fields))

    def _decide(self, number: int, name: str, *, approve: bool) -> None:
        requests = sorted(self.model.requests)
        sequence = requests[number] if number < len(requests) else 1 + len(self.model.changes) - number
        name = f"{len(self.model.commands)}-{self.model.position}" if name == "new" else name
        expected = self.model.decide(sequence, approve=approve, name=name, at=self._now())
        assert self.service.ordered(DecideRefund(sequence, approve, "ops", "a reason"), self._now(), name) == expected

    def _now(self) -> datetime:
        return max(self.at, self.service.clock)

    def _expiry(self, at: datetime, lasting: float | str | None) -> datetime | None:
        if isinstance(lasting, str):
            return self._next_turn(at)
        return None if lasting is None else at + lasting * DAY + timedelta(microseconds=1)

    def _next_turn(self, at: datetime) -> datetime:
        anchor, zone = self.model.anchor or self.anchor, self.model.zone if self.model.anchor else self.zone
        number = (at.year - anchor.year) * 12 + at.month - anchor.month - 1
        while (turn := turn_of_month(anchor, zone, number)) <= at:
            number += 1
        return turn


def _is_valid_at(fields: dict[str, Any], at: datetime) -> bool:
    """Whether the event is valid at that time: credits expire later, and plans take effect within five years."""
    expires = fields.get("expires")
    near = [fields[name] for name in ("effective", "anchor") if fields.get(name)]
    return (expires is None or expires > at) and all(abs(at - moment) < 4 * 365 * DAY for moment in near)


def data_of(account_id: str, kind: str, **fields: Any) -> IncomingData:
    """The data that a producer would send."""
    match kind:
        case "plan":
            return PlanChanged(
                account_id=account_id,
                plan_id="p",
                monthly_credits=fields["limit"],
                effective_at=fields["effective"],
                billing_anchor_at=fields["anchor"],
                time_zone=fields["zone"],
            )
        case "purchase":
            return CreditsPurchased(
                account_id=account_id,
                purchase_id=fields["purchase"],
                credits=fields["credits"],
                expires_at=fields["expires"],
            )
        case "bounced":
            bounce_type: BounceType = "hard" if fields["hard"] else "soft"
            return EmailBounced(account_id=account_id, prospect_id=fields["prospect"], bounce_type=bounce_type)
        case "staged":
            return ProspectStageChanged(account_id=account_id, prospect_id=fields["prospect"], stage=fields["stage"])
        case _:
            return PLAIN[kind](account_id=account_id, prospect_id=fields["prospect"])


PLAIN: dict[str, type[ProspectGenerated | ProspectExported | ProspectImported | ProspectTransferred | ProspectDeleted]]
PLAIN = {
    "generated": ProspectGenerated,
    "exported": ProspectExported,
    "imported": ProspectImported,
    "transferred": ProspectTransferred,
    "deleted": ProspectDeleted,
}

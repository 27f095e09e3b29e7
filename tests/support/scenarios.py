"""Scenarios of events for a credit service, the one in memory and the real one alike."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from credit_contracts.envelope import Event, Headers, encode_structured
from credit_contracts.incoming import (
    WRONG_EMAIL,
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
from credit_service.domain.command import Adjust, DecideRefund
from support.traffic import event, month_of_traffic

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = timedelta(days=1)
MONTH = timedelta(days=32)
BEGINNING = datetime(2026, 5, 1, 9, tzinfo=UTC)
BACKLOG_KNOWN_AT = datetime(2026, 4, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """An event that arrives at that time by the service's clock."""

    at: datetime
    event: Event[IncomingData]


@dataclass(frozen=True)
class Lies:
    """A record that is there then, whatever it is."""

    at: datetime
    topic: str
    key: bytes
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True)
class Ordered:
    """What a person orders, and the answer: an outcome, or why it is wrong use."""

    at: datetime
    account_id: str
    what: Adjust | DecideRefund
    command_id: str
    answer: str


@dataclass(frozen=True)
class Passes:
    """Time, up to then."""

    at: datetime


@dataclass
class Scenario:
    """Steps on an account of its own; `published` says in short what is to come out, in order."""

    account_id: str
    now: datetime
    steps: list[Told | Lies | Ordered | Passes] = field(default_factory=list)
    published: list[str] = field(default_factory=list)

    def expect(self, *published: str) -> None:
        self.published += published

    def passes(self, by: timedelta) -> None:
        self.now += by
        self.steps.append(Passes(self.now))

    def tell(self, data: IncomingData, *, late: timedelta = timedelta(0), event_id: str = "") -> Event[IncomingData]:
        """A minute later, of what happened then or was `late` by so much."""
        self.now += timedelta(minutes=1)
        told = event(data, self.now - late, event_id or f"{self.account_id}-{len(self.steps)}")
        self.steps.append(Told(self.now, told))
        return told

    def again(self, told: Event[IncomingData]) -> None:
        self.now += timedelta(minutes=1)
        self.steps.append(Told(self.now, told))

    def lies(self, topic: str, value: bytes | None, headers: Headers = (), key: bytes | None = None) -> None:
        self.now += timedelta(minutes=1)
        self.steps.append(Lies(self.now, topic, key or self.account_id.encode(), value, headers))

    def order(self, what: Adjust | DecideRefund, command_id: str, answer: str) -> None:
        self.now += timedelta(minutes=1)
        self.steps.append(Ordered(self.now, self.account_id, what, command_id, answer))

    def plan(self, credits_a_month: int | None, effective_at: datetime | None = None) -> PlanChanged:
        return PlanChanged(
            account_id=self.account_id,
            plan_id=f"plan-{credits_a_month}",
            monthly_credits=credits_a_month,
            seats=3,
            effective_at=effective_at,
            time_zone="Europe/Berlin",
        )

    def generated(self, prospect: str) -> ProspectGenerated:
        return ProspectGenerated(account_id=self.account_id, prospect_id=prospect)

    def exported(self, prospect: str) -> ProspectExported:
        return ProspectExported(account_id=self.account_id, prospect_id=prospect)

    def imported(self, prospect: str) -> ProspectImported:
        return ProspectImported(account_id=self.account_id, prospect_id=prospect)

    def bounced(self, prospect: str) -> EmailBounced:
        return EmailBounced(account_id=self.account_id, prospect_id=prospect)

    def deleted(self, prospect: str) -> ProspectDeleted:
        return ProspectDeleted(account_id=self.account_id, prospect_id=prospect)

    def wrong_email(self, prospect: str) -> ProspectStageChanged:
        return ProspectStageChanged(account_id=self.account_id, prospect_id=prospect, stage=WRONG_EMAIL)

    def purchased(self, amount: int, name: str, expires_at: datetime | None = None) -> CreditsPurchased:
        return CreditsPurchased(account_id=self.account_id, purchase_id=name, credits=amount, expires_at=expires_at)


def charge(s: Scenario) -> None:
    s.tell(s.plan(3))
    s.tell(s.generated("ann"))
    s.tell(s.exported("ann"))
    s.tell(s.exported("bob"))
    s.tell(s.imported("cy"))
    s.tell(s.generated("cy"))
    s.tell(ProspectTransferred(account_id=s.account_id, prospect_id="cy", from_campaign_id="x", to_campaign_id="y"))
    s.expect("plan_change +3", "charge -1", "charge -1")


def decline(s: Scenario) -> None:
    s.tell(s.plan(1))
    s.tell(s.generated("ann"))
    declined = s.tell(s.generated("bob"))
    s.tell(s.exported("bob"))
    s.tell(s.purchased(1, "p-1"))
    s.again(declined)
    s.tell(s.generated("bob"))
    s.expect("plan_change +1", "charge -1", "declined 1", "declined 2", "purchase +1", "charge -1")


def refund_by_bounce(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.generated("ann"))
    s.tell(EmailBounced(account_id=s.account_id, prospect_id="ann", bounce_type="soft"))
    s.tell(s.bounced("ann"))
    s.tell(s.bounced("ann"))
    s.tell(s.imported("bob"))
    s.tell(s.bounced("bob"))
    s.expect("plan_change +2", "charge -1", "refund +1")


def bounce_before_charge(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.bounced("ann"))
    s.tell(s.generated("ann"), late=timedelta(hours=1))
    s.expect("plan_change +2", "charge -1", "refund +1")


def late_refund(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.generated("ann"))
    s.passes(MONTH)
    s.tell(s.bounced("ann"))
    s.expect("plan_change +2", "charge -1", "lapse -1", "renewal +2", "refund +1")


def plan_up_and_down(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.plan(5))
    s.tell(s.plan(3))
    s.tell(s.plan(4))
    s.tell(s.plan(7, effective_at=s.now + 3 * DAY))
    s.passes(4 * DAY)
    s.passes(MONTH)
    s.tell(s.plan(0))
    s.passes(MONTH)
    s.expect("plan_change +2", "plan_change +3", "plan_change +2", "lapse -7", "renewal +7", "lapse -7")


def unlimited(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.plan(None))
    s.tell(s.generated("ann"))
    s.tell(s.bounced("ann"))
    s.tell(s.purchased(4, "p-1"))
    s.tell(s.plan(3))
    s.tell(s.generated("bob"))
    s.expect("plan_change +2", "plan_change +0", "charge +0", "refund +0", "purchase +4", "plan_change +1", "charge -1")


def purchase(s: Scenario) -> None:
    s.tell(s.plan(1))
    s.tell(s.purchased(2, "p-1"))
    s.tell(s.purchased(2, "p-1"))
    s.tell(s.purchased(3, "p-2", expires_at=s.now + 2 * DAY))
    s.tell(s.generated("ann"))
    s.passes(3 * DAY)
    s.expect("plan_change +1", "purchase +2", "purchase +3", "charge -1", "lapse -2")


def renewal(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.generated("ann"))
    s.passes(3 * MONTH)
    s.tell(s.generated("bob"))
    s.expect("plan_change +2", "charge -1", "lapse -1", *2 * ["renewal +2", "lapse -2"], "renewal +2", "charge -1")


def renewal_brought_by_an_event(s: Scenario) -> None:
    """Within the seconds that timers wait for late messages."""
    first = s.tell(s.plan(2))
    s.tell(s.generated("ann"))
    # A month in Berlin, to the second.
    turn = first.time.replace(month=first.time.month % 12 + 1, year=first.time.year + first.time.month // 12)
    s.passes(turn - s.now + timedelta(seconds=4))
    s.now -= timedelta(seconds=58)
    s.tell(s.generated("bob"), late=timedelta(seconds=3))
    s.expect("plan_change +2", "charge -1", "lapse -1", "renewal +2", "charge -1")


def first_plan_long_ago(s: Scenario) -> None:
    s.tell(s.plan(1), late=3 * MONTH)
    s.expect("plan_change +1", *3 * ["lapse -1", "renewal +1"])


def delete_and_generate_again(s: Scenario) -> None:
    s.tell(s.plan(3))
    s.tell(s.generated("ann"))
    s.tell(s.deleted("ann"))
    s.tell(s.generated("ann"))
    s.tell(s.deleted("ann"), late=timedelta(seconds=90))
    s.expect("plan_change +3", "charge -1", "charge -1")


def duplicate(s: Scenario) -> None:
    s.tell(s.plan(2))
    told = s.tell(s.generated("ann"))
    s.again(told)
    s.again(Event(told.source, told.id, told.type, told.time + timedelta(seconds=3), told.data))
    structured = encode_structured(told)
    s.lies(told.type, structured.value, structured.headers)
    s.expect("plan_change +2", "charge -1")


def conflict(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.generated("ann"), event_id=f"{s.account_id}-same")
    s.tell(s.generated("bob"), event_id=f"{s.account_id}-same")
    s.expect("plan_change +2", "charge -1", "dead conflict")


def poison(s: Scenario) -> None:
    s.tell(s.plan(2))
    told = s.tell(s.generated("ann"))
    headers = [("ce_id", b"1"), ("ce_source", b"/x"), ("ce_type", b"plan-changed"), ("ce_specversion", b"1.0")]
    s.lies("plan-changed", b"{}", [*headers, ("ce_time", b"2026-05-01T00:00:00Z")])
    s.lies("email-bounced", b"not json", [("credit_dead_letter_reason", b"not mine"), ("x", None)])
    s.lies("email-bounced", None)
    s.lies("prospect-deleted", b"x" * 600_000, [("content-type", b"application/json")])
    s.lies("email-bounced", encode_structured(told).value, encode_structured(told).headers)
    s.tell(s.generated("late"), late=-timedelta(minutes=6))
    s.lies("email-bounced", b"y", [("large", b"z" * 70_000)])
    s.lies("email-bounced", b"y", [("", None)] * 7_000, key=b"k" * 70_000)
    s.tell(s.generated("bob"))
    s.expect("plan_change +2", "charge -1", "dead bad-data", "dead bad-envelope", "dead no-value")
    s.expect("dead bad-envelope", "dead wrong-topic", "dead from-the-future", "dead bad-envelope", "charge -1")


def parked(s: Scenario) -> None:
    s.tell(s.bounced("ann"))
    s.tell(s.generated("ann"), late=timedelta(hours=2))
    s.tell(s.generated("bob"), event_id=f"{s.account_id}-same")
    s.tell(s.generated("bob"), event_id=f"{s.account_id}-same")
    s.tell(s.generated("cy"), event_id=f"{s.account_id}-same")
    s.tell(s.plan(2), late=timedelta(hours=3))
    s.tell(s.generated("dee"))
    s.expect("dead conflict", "plan_change +2", "charge -1", "refund +1", "charge -1", "charge -1")


def parked_for_too_long(s: Scenario) -> None:
    s.tell(s.generated("ann"))
    s.passes(DAY + timedelta(minutes=1))
    s.tell(s.generated("bob"))
    s.tell(s.plan(2))
    s.expect("dead parked-too-long", "plan_change +2", "charge -1")


def ordered_by_people(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.generated("ann"))
    s.tell(s.wrong_email("ann"))
    for _ in range(2):
        s.order(DecideRefund(2, is_approved=True, operator="ops", reason="seen"), "ticket-1", "refunded")
    s.order(Adjust(5, None, "ops", "sorry"), "ticket-2", "adjusted")
    s.order(Adjust(-9, None, "ops", "too much"), "ticket-3", "below-zero")
    s.expect("plan_change +2", "charge -1", "refund +1", "adjustment +5")


def ordered_wrongly(s: Scenario) -> None:
    s.tell(s.plan(2))
    later = s.now + DAY
    wrong: list[tuple[Adjust | DecideRefund, str, str]] = [
        (Adjust(1, None, "ops", "sorry"), "", "command id: between 1 and 128 printable characters"),
        (Adjust(1, None, " ", "sorry"), "w", "operator: between 1 and 200 printable characters"),
        (Adjust(1, None, "ops", ""), "w", "reason: between 1 and 1000 printable characters"),
        (Adjust(0, None, "ops", "sorry"), "w", "amount: between 1 and 1,000,000,000 credits, given or taken"),
        (Adjust(10**15, None, "ops", "sorry"), "w", "amount: between 1 and 1,000,000,000 credits, given or taken"),
        (Adjust(-1, later, "ops", "sorry"), "w", "expiry: credits that are taken do not expire"),
        (Adjust(1, later.replace(tzinfo=None), "ops", "sorry"), "w", "expiry: a time needs its zone"),
        (DecideRefund(2, True, "ops", "seen"), "x" * 129, "command id: between 1 and 128 printable characters"),
        (DecideRefund(2, True, "", "seen"), "w", "operator: between 1 and 200 printable characters"),
        (DecideRefund(2, True, "ops", "r" * 1_001), "w", "reason: between 1 and 1000 printable characters"),
    ]
    for what, command_id, answer in wrong:
        s.order(what, command_id, answer)
    s.expect("plan_change +2")


def ordered_in_vain(s: Scenario) -> None:
    s.tell(s.plan(2))
    s.tell(s.generated("ann"))
    s.tell(s.wrong_email("ann"))
    later = s.now + DAY
    s.order(Adjust(1, s.now - DAY, "ops", "sorry"), "a-1", "expired")
    s.order(Adjust(5, later, "ops", "sorry"), "a-1", "adjusted")
    s.order(Adjust(5, later.astimezone(timezone(timedelta(hours=2))), "ops", "sorry"), "a-1", "adjusted")
    s.order(Adjust(3, later, "ops", "sorry"), "a-1", "conflict")
    s.order(DecideRefund(1, True, "ops", "seen"), "r-1", "unknown-request")
    s.order(DecideRefund(2, False, "ops", "seen"), "r-1", "rejected")
    s.order(DecideRefund(2, True, "ops", "seen"), "r-2", "already-decided")
    s.expect("plan_change +2", "charge -1", "adjustment +5")


def ordered_for_nobody(s: Scenario) -> None:
    s.order(Adjust(5, None, "ops", "sorry"), "a-1", "unknown-account")
    s.order(DecideRefund(2, True, "ops", "seen"), "r-1", "unknown-account")


def ordered_before_the_first_plan(s: Scenario) -> None:
    s.order(Adjust(5, None, "ops", "sorry"), "a-1", "unknown-account")
    s.tell(s.generated("ann"))
    s.order(Adjust(5, None, "ops", "sorry"), "a-1", "not-open")
    s.order(DecideRefund(2, True, "ops", "seen"), "r-1", "unknown-request")
    s.tell(s.plan(2), late=DAY)
    s.order(Adjust(5, None, "ops", "sorry"), "a-1", "adjusted")
    s.expect("plan_change +2", "charge -1", "adjustment +5")


STORIES: list[Callable[[Scenario], None]] = [
    charge,
    decline,
    refund_by_bounce,
    bounce_before_charge,
    late_refund,
    plan_up_and_down,
    unlimited,
    purchase,
    renewal,
    renewal_brought_by_an_event,
    first_plan_long_ago,
    delete_and_generate_again,
    duplicate,
    conflict,
    poison,
    parked,
    parked_for_too_long,
    ordered_by_people,
    ordered_wrongly,
    ordered_in_vain,
    ordered_for_nobody,
    ordered_before_the_first_plan,
]


def scenarios() -> list[Scenario]:
    """All of them, one after the other in time."""
    told, now = [], BEGINNING
    for story in STORIES:
        scenario = Scenario(story.__name__.replace("_", "-"), now)
        story(scenario)
        told.append(scenario)
        now = scenario.now + timedelta(hours=1)
    return told


def backlog(seed: int, *, accounts: int = 8, events: int = 300) -> list[Event[IncomingData]]:
    """Forty days of some accounts, sent a little out of order, and some of it again; all before `BACKLOG_KNOWN_AT`."""
    rng = random.Random(seed)
    traffic = month_of_traffic(seed, accounts=accounts, events=events)
    traffic += rng.sample(traffic, 20)
    places = [number + rng.choice([0, 0, 0, 9]) for number in range(len(traffic))]
    return [one for _, one in sorted(zip(places, traffic, strict=True), key=lambda pair: pair[0])]


def in_short(topic: str, value: bytes | None, headers: Headers) -> str:
    """What one published message says."""
    import json

    if topic == "balance-changed" and value:
        data = json.loads(value)
        return f"{data['reason']} {data['delta']:+d}"
    if topic == "insufficient-credits" and value:
        return f"declined {json.loads(value)['declined_in_period']}"
    reason = [value for name, value in headers if name == "credit_dead_letter_reason"][-1]
    return f"dead {(reason or b'').decode()}"

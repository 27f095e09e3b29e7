"""The day: the messages of upstream teams and their expected effects, written by hand, not computed by the rules.

The customers are invented. Their names appear here only; messages carry opaque ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from credit_contracts import (
    WRONG_EMAIL,
    CreditsPurchased,
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
)
from credit_contracts.naming import topic_name

BETWEEN_EVENTS = timedelta(seconds=2)
DAY_ENDS_AT = timedelta(hours=16)

Effect = tuple[str, int]
"""A balance change: its reason and its delta."""

CHARGE: Effect = ("charge", -1)
COUNTED: Effect = ("charge", 0)
REFUND: Effect = ("refund", 1)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer, with a line that explains the final balance."""

    name: str
    account_id: str
    why: str
    unlimited: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, its expected outcome (None: it is unreadable), and its expected balance changes.

    A message that is delivered `again` is expected to change nothing.
    """

    event: Event[IncomingData]
    outcome: str | None
    effects: tuple[Effect, ...] = ()
    again: bool = False

    @property
    def is_readable(self) -> bool:
        """Whether the service can read it."""
        return self.outcome is not None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of one customer's day, and its messages."""

    at: datetime
    customer: Customer
    what: str
    messages: list[Sent]


@dataclass(slots=True)
class Day:
    """The customers, and the steps in order of time."""

    customers: list[Customer]
    steps: list[Step] = field(default_factory=list)

    def messages_of(self, customer: Customer) -> list[Sent]:
        """All messages about the customer, in order."""
        return [sent for step in self.steps if step.customer == customer for sent in step.messages]


class _Messages:
    """Makes messages with times and ids; an id names the attempt, and every delivery has the same id."""

    def __init__(self, run: str, now: datetime) -> None:
        self._run = run
        self._day = now.replace(second=0, microsecond=0) - DAY_ENDS_AT
        self._ids = 0

    def at(self, clock: str) -> datetime:
        hours, minutes = clock.split(":")
        return self._day + timedelta(hours=int(hours), minutes=int(minutes))

    def event(self, source: str, at: datetime, data: IncomingData) -> Event[IncomingData]:
        self._ids += 1
        return Event(source, f"{self._run}-{self._ids:04}", topic_name(type(data)), at, data)

    def plan(self, clock: str, customer: Customer, plan_id: str, monthly: int | None, *effects: Effect) -> Sent:
        data = PlanChanged(account_id=customer.account_id, plan_id=plan_id, monthly_credits=monthly)
        return Sent(self.event("/billing", self.at(clock), data), "plan-in-force", effects)

    def purchase(self, clock: str, customer: Customer, amount: int) -> Sent:
        data = CreditsPurchased(account_id=customer.account_id, purchase_id=f"pur_{self._ids}", credits=amount)
        return Sent(self.event("/billing", self.at(clock), data), "purchased", (("purchase", amount),))

    def deleted(self, clock: str, customer: Customer, number: int) -> Sent:
        data = ProspectDeleted(account_id=customer.account_id, prospect_id=_prospect(number))
        return Sent(self.event("/campaigns", self.at(clock), data), "deleted")

    def wrong_email(self, clock: str, customer: Customer, number: int) -> Sent:
        data = ProspectStageChanged(account_id=customer.account_id, prospect_id=_prospect(number), stage=WRONG_EMAIL)
        return Sent(self.event("/campaigns", self.at(clock), data), "refund-requested")

    def imported(self, clock: str, customer: Customer, numbers: Iterable[int]) -> list[Sent]:
        return self._prospects(ProspectImported, clock, customer, numbers, "imported")

    def generated(self, clock: str, customer: Customer, numbers: Iterable[int], outcome: str = "charged") -> list[Sent]:
        return self._prospects(ProspectGenerated, clock, customer, numbers, outcome)

    def exported(self, clock: str, customer: Customer, numbers: Iterable[int], outcome: str = "charged") -> list[Sent]:
        return self._prospects(ProspectExported, clock, customer, numbers, outcome)

    def bounced(
        self, clock: str, customer: Customer, number: int, outcome: str, *effects: Effect, soft: bool = False
    ) -> Sent:
        data = EmailBounced(
            account_id=customer.account_id, prospect_id=_prospect(number), bounce_type="soft" if soft else "hard"
        )
        return Sent(self.event("/mailer", self.at(clock), data), outcome, effects)

    def _prospects(
        self,
        model: type[ProspectGenerated] | type[ProspectExported] | type[ProspectImported],
        clock: str,
        customer: Customer,
        numbers: Iterable[int],
        outcome: str,
    ) -> list[Sent]:
        charge = COUNTED if customer.unlimited else CHARGE
        effects = (charge,) if outcome == "charged" else ()
        return [
            Sent(
                self.event(
                    "/campaigns",
                    self.at(clock) + i * BETWEEN_EVENTS,
                    model(account_id=customer.account_id, prospect_id=_prospect(number)),
                ),
                outcome,
                effects,
            )
            for i, number in enumerate(numbers)
        ]


def _prospect(number: int) -> str:
    return f"pro_{number:04}"


def again(sent: Sent) -> Sent:
    """The same message again, byte for byte."""
    return Sent(sent.event, sent.outcome, again=True)


def day(run: str, now: datetime) -> Day:
    """The day of this `run`; its last events are a few minutes before `now`, which is 16:00 below."""
    halyard = Customer(
        "Halyard",
        f"acc_halyard_{run}",
        "ran out, and a decline stays one. Bought credits, and went on.",
    )
    quill = Customer(
        "Quillfeather",
        f"acc_quill_{run}",
        "ran out, upgraded, had the difference at once, and went on.",
    )
    osprey = Customer(
        "Osprey",
        f"acc_osprey_{run}",
        "unlimited: charges are counted, and nothing is declined.",
        unlimited=True,
    )
    tamarisk = Customer(
        "Tamarisk",
        f"acc_tamarisk_{run}",
        "each bounce gave its credit back, once, in whatever order.",
    )
    t = _Messages(run, now)
    whole = Day([halyard, quill, osprey, tamarisk])

    def step(clock: str, customer: Customer, what: str, *messages: Sent) -> None:
        whole.steps.append(Step(t.at(clock), customer, what, list(messages)))

    step("08:00", halyard, "plan: 40 credits a month", t.plan("08:00", halyard, "starter", 40, ("plan_change", 40)))
    step("08:05", quill, "plan: 30 credits a month", t.plan("08:05", quill, "growth", 30, ("plan_change", 30)))
    step("08:10", osprey, "plan: unlimited", t.plan("08:10", osprey, "scale", None, ("plan_change", 0)))
    step("08:15", tamarisk, "plan: 40 credits a month", t.plan("08:15", tamarisk, "starter", 40, ("plan_change", 40)))

    step("08:20", halyard, "25 prospects generated", *t.generated("08:20", halyard, range(25)))
    morning = t.generated("08:40", tamarisk, range(20))
    step("08:40", tamarisk, "20 prospects generated", *morning)
    step("09:00", osprey, "50 prospects generated", *t.generated("09:00", osprey, range(50)))
    step("09:40", halyard, "10 of them exported", *t.exported("09:40", halyard, range(10), "free"))

    first_bounce = t.bounced("10:10", tamarisk, 3, "refunded", REFUND)
    step(
        "10:10",
        tamarisk,
        "3 e-mails bounce",
        first_bounce,
        t.bounced("10:11", tamarisk, 8, "refunded", REFUND),
        t.bounced("10:12", tamarisk, 11, "refunded", REFUND),
    )
    step("10:30", tamarisk, "one of them bounces again", t.bounced("10:30", tamarisk, 3, "no-effect"))
    step("10:35", tamarisk, "another one, softly", t.bounced("10:35", tamarisk, 5, "no-effect", soft=True))

    step(
        "10:50",
        quill,
        "32 prospects generated",
        *t.generated("10:50", quill, range(30)),
        *t.generated("10:52", quill, (30, 31), "declined"),
    )
    # The mailer is faster than campaigns: the bounce arrives before its charge.
    early = t.bounced("11:30", tamarisk, 20, "awaiting-charge", REFUND)
    step("11:30", tamarisk, "bounce before its charge", early)
    step("11:45", tamarisk, "the charge, late", *t.generated("11:25", tamarisk, (20,)))

    step("12:00", quill, "upgrade: 75 a month", t.plan("12:00", quill, "pro", 75, ("plan_change", 45)))
    step("12:05", quill, "the 2 again, as new attempts", *t.generated("12:05", quill, (30, 31)))
    step(
        "13:10",
        halyard,
        "20 new ones exported",
        *t.exported("13:10", halyard, range(25, 40)),
        *t.exported("13:11", halyard, range(40, 45), "declined"),
    )
    garbled = Sent(t.generated("13:30", osprey, (50,))[0].event, None)
    step("13:30", osprey, "a garbled message", garbled)
    step("13:31", osprey, "15 prospects generated", *t.generated("13:31", osprey, range(50, 65)))
    # A new message follows each redelivery in the same topic: when it is decided, the redelivery has been read.
    step(
        "14:00",
        tamarisk,
        "a bounce again, one more",
        again(first_bounce),
        t.bounced("14:00", tamarisk, 14, "refunded", REFUND),
    )
    step(
        "14:20",
        tamarisk,
        "5 redelivered, 10 generated",
        *map(again, morning[:5]),
        *t.generated("14:20", tamarisk, range(21, 31)),
    )
    step(
        "14:30",
        tamarisk,
        "one deleted, generated anew",
        t.deleted("14:30", tamarisk, 0),
        *t.generated("14:31", tamarisk, (0,)),
    )
    step("14:35", tamarisk, "one has a wrong e-mail", t.wrong_email("14:35", tamarisk, 1))
    own = range(900, 910)
    step(
        "14:38",
        osprey,
        "10 of their own imported",
        *t.imported("14:38", osprey, own),
        *t.exported("14:39", osprey, own[:5], "free"),
    )
    step("14:39", osprey, "one of those bounces", t.bounced("14:39", osprey, 900, "no-effect"))
    step("14:40", quill, "18 prospects generated", *t.generated("14:40", quill, range(32, 50)))
    step("15:30", halyard, "one of the 5 tried again", *t.generated("15:30", halyard, (40,), "declined"))
    step(
        "15:40",
        halyard,
        "20 bought, one tried anew",
        t.purchase("15:40", halyard, 20),
        *t.generated("15:41", halyard, (40,)),
    )
    return whole

"""Histories of an account: each step is a batch of its own through `decide`, with a store between the steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

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
from credit_contracts.naming import topic_name
from credit_service.domain.command import (
    Adjust,
    Command,
    CommandData,
    DecideRefund,
    OpenAccount,
    OpenProspect,
    OpenPurchase,
    command_of,
)
from credit_service.domain.decide import Rules, decide
from credit_service.domain.decided import Decided
from credit_service.domain.decision import Change, Decision, Refused
from credit_service.domain.event import Incoming, Place, Wake
from credit_service.domain.idempotency import content_of, key_of
from credit_service.domain.period import Period
from support.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_contracts.incoming import BounceType
    from credit_service.domain.grant import Grant
    from credit_service.domain.plan import Plan
    from credit_service.domain.prospect import Prospect, ProspectOrigin

ACCOUNT = "acme"
SOURCE = "/tests"
NOW = datetime(2036, 1, 1, tzinfo=UTC)

_offsets = count()


def time(text: str) -> datetime:
    """`2026-01-31` or `2026-01-31 10:00`, in UTC unless it says otherwise."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def event(
    data: IncomingData, at: datetime, event_id: str, source: str = SOURCE, *, appended_at: datetime | None = None
) -> Incoming:
    """`data` as it comes out of the intake; appended to its topic when it occurred, unless another time is given."""
    topic = topic_name(type(data))
    return Incoming(
        data.account_id,
        key_of(source, event_id),
        content_of(topic, data),
        source,
        event_id,
        topic,
        at,
        data,
        Place(topic, 0, next(_offsets)),
        at if appended_at is None else appended_at,
    )


@dataclass
class Story:
    """What happens to one account. Times are texts; one that is not given is a minute after the last.

    Every step says what became of it: the outcome, `parked`, `duplicate`, or the reason of the refusal.
    """

    rules: Rules = field(default_factory=Rules)
    now: datetime = NOW
    rows: Rows = field(default_factory=Rows)
    decisions: list[Decision] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    _last: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    _ids: count[int] = field(default_factory=count)

    def plan(
        self,
        credits_a_month: int | None,
        at: str | None = None,
        *,
        effective: str | None = None,
        anchor: str | None = None,
        zone: str | None = None,
        seats: int | None = None,
        email_accounts: int | None = None,
        name: str = "plan",
        event_id: str | None = None,
        appended: str | None = None,
    ) -> str:
        data = PlanChanged(
            account_id=ACCOUNT,
            plan_id=name,
            monthly_credits=credits_a_month,
            seats=seats,
            email_accounts=email_accounts,
            effective_at=time(effective) if effective else None,
            billing_anchor_at=time(anchor) if anchor else None,
            time_zone=zone,
        )
        return self.happens(data, at, event_id, appended)

    def generate(self, prospect: str, at: str | None = None, *, event_id: str | None = None) -> str:
        return self.happens(ProspectGenerated(account_id=ACCOUNT, prospect_id=prospect), at, event_id)

    def export(self, prospect: str, at: str | None = None, *, event_id: str | None = None) -> str:
        return self.happens(ProspectExported(account_id=ACCOUNT, prospect_id=prospect), at, event_id)

    def bounce(
        self, prospect: str, at: str | None = None, *, kind: BounceType = "hard", event_id: str | None = None
    ) -> str:
        return self.happens(EmailBounced(account_id=ACCOUNT, prospect_id=prospect, bounce_type=kind), at, event_id)

    def purchase(
        self, amount: int, at: str | None = None, *, name: str = "purchase", expires: str | None = None
    ) -> str:
        expires_at = time(expires) if expires else None
        data = CreditsPurchased(account_id=ACCOUNT, purchase_id=name, credits=amount, expires_at=expires_at)
        return self.happens(data, at)

    def imports(self, prospect: str, at: str | None = None) -> str:
        return self.happens(ProspectImported(account_id=ACCOUNT, prospect_id=prospect), at)

    def delete(self, prospect: str, at: str | None = None) -> str:
        return self.happens(ProspectDeleted(account_id=ACCOUNT, prospect_id=prospect), at)

    def transfer(self, prospect: str, at: str | None = None) -> str:
        return self.happens(ProspectTransferred(account_id=ACCOUNT, prospect_id=prospect), at)

    def stage(self, prospect: str, at: str | None = None, *, stage: str = WRONG_EMAIL) -> str:
        return self.happens(ProspectStageChanged(account_id=ACCOUNT, prospect_id=prospect, stage=stage), at)

    def decide_refund(self, charge_sequence: int, at: str | None = None, *, approve: bool, command: str = "c-1") -> str:
        return self.ordered(DecideRefund(charge_sequence, approve, "ops", "a reason"), at, command)

    def adjust(
        self,
        amount: int,
        at: str | None = None,
        *,
        expires: str | None = None,
        command: str = "a-1",
        reason: str = "a reason",
    ) -> str:
        return self.ordered(Adjust(amount, time(expires) if expires else None, "ops", reason), at, command)

    def open_account(
        self,
        credits_a_month: int | None,
        at: str | None = None,
        *,
        remaining: int = 0,
        anchor: str = "2026-01-01",
        zone: str = "UTC",
    ) -> str:
        data = OpenAccount("plan", credits_a_month, None, None, time(anchor), zone, remaining)
        return self.ordered(data, at)

    def open_purchase(self, remaining: int, at: str | None = None, *, name: str, expires: str | None = None) -> str:
        return self.ordered(OpenPurchase(name, remaining, time(expires) if expires else None), at)

    def open_prospect(self, prospect: str, origin: ProspectOrigin, at: str | None = None) -> str:
        return self.ordered(OpenProspect(prospect, origin), at)

    def ordered(self, data: CommandData, at: str | None = None, command_id: str = "") -> str:
        """One command, given at that time by the database's clock."""
        self._last = time(at) if at else self._last + timedelta(minutes=1)
        always, self.now = self.now, self._last
        decided = self.batch([command_of(ACCOUNT, data, command_id)])
        self.now = always
        return decided.answers[0].outcome

    def happens(
        self, data: IncomingData, at: str | None = None, event_id: str | None = None, appended: str | None = None
    ) -> str:
        """One event, in a batch of its own; `appended` to its topic when it occurred, if nothing else is said."""
        self._last = time(at) if at else self._last + timedelta(minutes=1)
        appended_at = time(appended) if appended else None
        incoming = event(data, self._last, event_id or f"event-{next(self._ids)}", appended_at=appended_at)
        decided = self.batch([incoming])
        if decided.refused:
            return decided.refused[-1].reason
        if decided.duplicates:
            return "duplicate"
        return next((d.outcome for d in decided.decisions if d.key == incoming.key), "parked")

    def wait(self, until: str, *, timers_max: int = 1_000_000) -> Story:
        """Lets the timers up to `until` happen, at most `timers_max` of them."""
        self.batch([Wake(ACCOUNT, time(until), timers_max)])
        return self

    def batch(self, inputs: Sequence[Incoming | Wake | Command]) -> Decided:
        """Loads, decides and stores."""
        accounts = self.rows.load(inputs, unparked_max=self.rules.unparked_max)
        decided = decide(accounts, inputs, self.now, self.rules)
        self.rows.store(accounts.values(), decided)
        self.decisions += decided.decisions
        self.changes += decided.changes
        self.refused += decided.refused
        return decided

    @property
    def balance(self) -> int | None:
        """As others see it: None is unlimited."""
        return None if self._column("unlimited", default=False) else self.held

    @property
    def held(self) -> int:
        """What the grants hold, also beneath an unlimited plan."""
        held = self._column("balance", default=0)
        assert isinstance(held, int)
        return held

    @property
    def period(self) -> Period | None:
        """The current one; None before the first plan."""
        period = self._column("period", default=None)
        assert period is None or isinstance(period, Period)
        return period

    @property
    def waiting(self) -> int:
        """How many events are parked."""
        parked = self._column("parked", default=0)
        assert isinstance(parked, int)
        return parked

    @property
    def log(self) -> list[str]:
        """The balance changes so far, such as `charge -1`."""
        return [f"{change.reason} {change.delta:+d}" for change in self.changes]

    @property
    def grants(self) -> list[Grant]:
        """The grants that are open, in the order in which they were opened."""
        return [grant for _, grant in sorted(self.rows.grants.items()) if grant.is_open]

    @property
    def plan_position(self) -> int:
        """The decision that brought the plan in force; 0 before the first."""
        position = self._column("plan_position", default=0)
        assert isinstance(position, int)
        return position

    @property
    def plan_in_force(self) -> Plan | None:
        return self.rows.plans.get((ACCOUNT, self.plan_position))

    def prospect(self, name: str) -> Prospect | None:
        return self.rows.prospect(ACCOUNT, name) if (ACCOUNT, name) in self.rows.prospects else None

    @property
    def requests(self) -> dict[int, str]:
        """The refund requests: the charge's sequence, and the status."""
        return {sequence: request.status for (_, sequence), request in self.rows.requests.items()}

    def _column(self, name: str, *, default: object) -> object:
        return self.rows.accounts.get(ACCOUNT, {}).get(name, default)

"""Traffic of the upstream teams: seeded, through the contracts package, by an ordinary producer."""

from __future__ import annotations

import asyncio
import random
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from aiokafka import AIOKafkaProducer

from credit_contracts.envelope import Event, Headers, encode
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DAYS = 40
MONTHLY_CREDITS = (0, 3, 10, 10, 25, 60, None)
MONTH_BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
MONTH_DAYS = 40

# Where billing months begin, by the clock on the wall: on a last day, in the middle, and so that two turns are played.
_ANCHOR_DAYS = ((1, 31), (2, 15), (2, 8), (3, 1))

# Where they come from, in the order in which they occur at the same instant.
_SOURCES: dict[type[IncomingData], tuple[str, str]] = {
    PlanChanged: ("/billing", "plan-changed"),
    CreditsPurchased: ("/billing", "credits-purchased"),
    ProspectImported: ("/campaigns", "prospect-imported"),
    ProspectGenerated: ("/campaigns", "prospect-generated"),
    ProspectExported: ("/exports", "prospect-exported"),
    ProspectTransferred: ("/campaigns", "prospect-transferred"),
    ProspectStageChanged: ("/campaigns", "prospect-stage-changed"),
    EmailBounced: ("/mailer", "email-bounced"),
    ProspectDeleted: ("/campaigns", "prospect-deleted"),
}
_ids = count()


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and where Kafka keeps it."""

    topic: str
    partition: int
    offset: int
    event: Event[IncomingData]


def event(data: IncomingData, at: datetime, event_id: str | None = None) -> Event[IncomingData]:
    """`data` as its producer would report it; a new id unless one is given."""
    source, event_type = _SOURCES[type(data)]
    return Event(source, event_id or f"event-{next(_ids)}", event_type, at, data)


class Upstream:
    """The producer of all upstream teams, used as a context."""

    def __init__(
        self, kafka: str, prefix: str, compression_type: str | None = None, max_request_size: int = 16 * 1024 * 1024
    ) -> None:
        self._prefix = prefix
        self._producer: Any = AIOKafkaProducer(
            bootstrap_servers=kafka,
            acks="all",
            enable_idempotence=True,
            max_request_size=max_request_size,
            compression_type=compression_type,
            request_timeout_ms=120_000,  # for as long as a broker is away
        )

    async def __aenter__(self) -> Upstream:
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, events: Iterable[Event[IncomingData]], *, partition: int | None = None) -> list[Sent]:
        """Sends in this order and waits until the broker has them all; murmur2 chooses the partition if none is given.

        For the order to count beyond one partition, send one list after the other.
        """
        futures = []
        sent = list(events)
        for one in sent:
            record = encode(one)
            topic = self._prefix + one.type
            futures.append(
                await self._producer.send(
                    topic, record.value, key=record.key, headers=record.headers, partition=partition
                )
            )
        places = await asyncio.gather(*futures)
        return [Sent(at.topic, at.partition, at.offset, one) for at, one in zip(places, sent, strict=True)]

    async def send_raw(
        self, topic: str, value: bytes | None, headers: Headers = (), key: bytes | None = b"raw"
    ) -> tuple[str, int, int]:
        """Sends bytes as they are, to the topic that the contracts know as `topic`; returns the place."""
        at = await self._producer.send_and_wait(self._prefix + topic, value, key=key, headers=list(headers))
        return at.topic, at.partition, at.offset


def random_traffic(seed: int, *, accounts: int = 6, events: int = 400) -> list[Event[IncomingData]]:
    """About forty days of a few accounts up to last midnight, in the order in which it is sent.

    With small plans, so that declines happen; with a late first plan, plan changes now and for later, purchases that
    expire and purchases reported twice, imports, deletes, wrong e-mails, bounces that overtake their charge, free
    exports, repeats, and periods that end.
    """
    # At midnight, so that a seed brings the same whatever the time of day.
    began = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    play = _Play(random.Random(seed), accounts, events, began, DAYS)
    return play.a_little_out_of_order()


def month_of_traffic(seed: int, *, accounts: int, events: int) -> list[Event[IncomingData]]:
    """`MONTH_DAYS` of many accounts from `MONTH_BEGAN` on, in order of occurrence, each message once.

    Whatever is to happen by itself is due at one of `instants_of`, and some plans change at these very instants. For
    the rest as `random_traffic`; many a first plan comes late.
    """
    return _Month(random.Random(seed), accounts, events, MONTH_BEGAN, MONTH_DAYS).in_order()


def instants_of(events: Iterable[Event[IncomingData]]) -> list[datetime]:
    """When something may happen by itself in a month of traffic: turns of periods, expiries, plans for later."""
    instants = set()
    for one in events:
        if isinstance(one.data, PlanChanged):
            instants |= {one.data.effective_at, *_turns(one.data.billing_anchor_at, one.data.time_zone)}
        elif isinstance(one.data, CreditsPurchased):
            instants.add(one.data.expires_at)
    end = MONTH_BEGAN + timedelta(days=MONTH_DAYS)
    return sorted(at for at in instants if at is not None and MONTH_BEGAN < at <= end)


def _turns(anchor: datetime | None, time_zone: str | None) -> list[datetime]:
    """The turns of the months that begin at `anchor`, the first of them."""
    if anchor is None:
        return []
    local = anchor.astimezone(ZoneInfo(time_zone or "UTC"))
    turns = []
    for months in (1, 2, 3):
        year, month = local.year + (local.month - 1 + months) // 12, (local.month - 1 + months) % 12 + 1
        day = min(local.day, monthrange(year, month)[1])
        turns.append(local.replace(year=year, month=month, day=day).astimezone(UTC))
    return turns


def order_of(one: Event[IncomingData]) -> tuple[datetime, int, str, str]:
    """Order of occurrence."""
    return one.time, list(_SOURCES).index(type(one.data)), one.source, one.id


@dataclass
class _Play:
    rng: random.Random
    accounts: int
    count: int
    began: datetime
    days: int
    played: list[Event[IncomingData]] = field(default_factory=list)
    prospects: list[tuple[str, str]] = field(default_factory=list)
    overtaken: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    purchases: list[CreditsPurchased] = field(default_factory=list)
    instants: dict[str, list[datetime]] = field(default_factory=dict)
    now: datetime = field(init=False)

    @property
    def step(self) -> timedelta:
        return timedelta(days=self.days) / (self.count + 2)

    def play(self) -> None:
        names = [f"account-{self.rng.getrandbits(40):x}" for _ in range(self.accounts)]
        late = names[-1]
        self.now = self.began
        for number, name in enumerate(names[:-1]):
            self._play(self._first_plan(name, 3 if number == 0 else self.rng.choice(MONTHLY_CREDITS)), self.began)
        for number in range(self.count - self.accounts):
            self.now = self.began + self.step * number
            if number == self.count // 3:
                self._play(self._first_plan(late, self.rng.choice(MONTHLY_CREDITS)), self.now)
            elif self.rng.random() < 0.1 and self.played:
                self.played.append(self.rng.choice(self.played))  # sent again, the very same
            else:
                self._play(self._something(self.rng.choice(names)), self.now)

    def a_little_out_of_order(self) -> list[Event[IncomingData]]:
        self.play()
        places = [number + self._delay(one) for number, one in enumerate(self.played)]
        return [one for _, one in sorted(zip(places, self.played, strict=True), key=lambda pair: pair[0])]

    def _delay(self, one: Event[IncomingData]) -> int:
        """How many places later it is sent. Never past an instant at which something happens to its account by itself:
        what of the two is decided first would then be a matter of speed.
        """
        delay = self.rng.choice([0, 0, 0, 0, 5])
        until = one.time + self.step * (delay + 2)
        is_near = any(one.time - self.step <= at <= until for at in self.instants.get(one.data.account_id, ()))
        return 0 if is_near else delay

    def _play(self, data: IncomingData, at: datetime) -> None:
        self.played.append(event(data, at, f"{self.rng.getrandbits(64):x}"))

    def _first_plan(self, account: str, monthly_credits: int | None) -> PlanChanged:
        first = self._plan(account, monthly_credits)
        self.instants.setdefault(account, []).extend(_turns(self.now, first.time_zone))
        return first

    def _plan(self, account: str, monthly_credits: int | None, effective_at: datetime | None = None) -> PlanChanged:
        return PlanChanged(
            account_id=account,
            plan_id=f"plan-{self.rng.randrange(5)}",
            monthly_credits=monthly_credits,
            seats=self.rng.choice([None, 1, 5]),
            effective_at=effective_at,
            time_zone=self.rng.choice([None, "Europe/Berlin", "America/New_York"]),
        )

    def _instant(self, account: str) -> datetime:
        """Some midnight of the days to come."""
        day = self.now + timedelta(days=self.rng.randint(1, 8))
        at = day.replace(hour=0, minute=0, second=0, microsecond=0)
        self.instants.setdefault(account, []).append(at)
        return at

    def _something(self, account: str) -> IncomingData:
        chance = self.rng.random()
        if chance < 0.03:
            later = self._instant(account) if self.rng.random() < 0.4 else None
            return self._plan(account, self.rng.choice(MONTHLY_CREDITS), later)
        if chance < 0.07:
            return self._purchase(account)
        if chance < 0.12:
            self.overtaken.append((account, self._new_prospect()))
            return self._too_early(*self.overtaken[-1])
        if chance < 0.17 and self.overtaken:
            owner, prospect = self.overtaken.pop(0)
            return ProspectGenerated(account_id=owner, prospect_id=prospect)
        if chance < 0.21 and self.deleted:
            owner, prospect = self.deleted.pop(0)
            self.prospects.append((owner, prospect))
            return self._bring(owner, prospect)
        if chance < 0.52 and self.prospects:
            return self._to_a_known_one(*self.rng.choice(self.prospects), chance)
        prospect = self._new_prospect()
        self.prospects.append((account, prospect))
        return self._bring(account, prospect)

    def _purchase(self, account: str) -> CreditsPurchased:
        again = [bought for bought in self.purchases[-5:] if not bought.expires_at or bought.expires_at > self.now]
        if again and self.rng.random() < 0.3:
            return self.rng.choice(again)  # reported again, under another id
        bought = CreditsPurchased(
            account_id=account,
            purchase_id=f"purchase-{self.rng.getrandbits(32):x}",
            credits=self.rng.randint(1, 5),
            expires_at=self._instant(account) if self.rng.random() < 0.6 else None,
        )
        self.purchases.append(bought)
        return bought

    def _too_early(self, account: str, prospect: str) -> IncomingData:
        if self.rng.random() < 0.3:
            return ProspectStageChanged(account_id=account, prospect_id=prospect, stage=WRONG_EMAIL)
        return EmailBounced(account_id=account, prospect_id=prospect)

    def _bring(self, account: str, prospect: str) -> IncomingData:
        kinds = (ProspectGenerated, ProspectGenerated, ProspectGenerated, ProspectExported, ProspectImported)
        return self.rng.choice(kinds)(account_id=account, prospect_id=prospect)

    def _to_a_known_one(self, account: str, prospect: str, chance: float) -> IncomingData:
        of: dict[str, Any] = {"account_id": account, "prospect_id": prospect}
        if chance < 0.29:
            return EmailBounced(**of, bounce_type=self.rng.choice(["hard", "hard", "soft"]))
        if chance < 0.37:
            kinds: tuple[type[IncomingData], ...] = (ProspectExported, ProspectExported, ProspectImported)
            return self.rng.choice(kinds)(**of)
        if chance < 0.43:
            return ProspectStageChanged(**of, stage=self.rng.choice([WRONG_EMAIL, WRONG_EMAIL, "replied"]))
        if chance < 0.46:
            return ProspectTransferred(**of, from_campaign_id="spring", to_campaign_id="autumn")
        self.prospects.remove((account, prospect))
        self.deleted.append((account, prospect))
        return ProspectDeleted(**of)

    def _new_prospect(self) -> str:
        return f"prospect-{self.rng.getrandbits(48):x}"


@dataclass
class _Month(_Play):
    """Many accounts; what is due by itself is due at a few instants of all of them."""

    calendars: dict[str, tuple[datetime, str | None]] = field(default_factory=dict)

    def play(self) -> None:
        names = [f"account-{self.rng.getrandbits(40):x}" for _ in range(self.accounts)]
        for name in names:
            self._begin(name)
        times = [
            self.began + self.rng.random() * timedelta(days=self.days) for _ in range(self.count - len(self.played))
        ]
        for self.now in sorted(times):
            self._play(self._something(self.rng.choice(names)), self.now)

    def in_order(self) -> list[Event[IncomingData]]:
        self.play()
        return sorted(self.played, key=order_of)

    def _begin(self, account: str) -> None:
        """Its first plan, of one in five when much has happened; and maybe a plan on the very turn of a month."""
        zone = self.rng.choice([None, "Europe/Berlin", "America/New_York"])
        month, day = self.rng.choice(_ANCHOR_DAYS)
        anchor = datetime(MONTH_BEGAN.year, month, day, tzinfo=ZoneInfo(zone or "UTC")).astimezone(UTC)
        self.calendars[account] = anchor, zone
        at = self.began + timedelta(days=self.rng.choice([0, 0, 0, 0, 12]), hours=self.rng.uniform(0, 30))
        self._play(self._plan(account, self.rng.choice(MONTHLY_CREDITS)), at)
        turns = [turn for turn in _turns(anchor, zone) if at < turn < self.began + timedelta(days=self.days)]
        if turns and self.rng.random() < 0.3:
            self._play(self._plan(account, self.rng.choice(MONTHLY_CREDITS)), turns[0])

    def _plan(self, account: str, monthly_credits: int | None, effective_at: datetime | None = None) -> PlanChanged:
        anchor, zone = self.calendars[account]
        plan = super()._plan(account, monthly_credits, effective_at)
        return plan.model_copy(update={"billing_anchor_at": anchor, "time_zone": zone})

    def _instant(self, account: str) -> datetime:  # noqa: ARG002 - all accounts share them
        days = (self.now - self.began) // timedelta(days=1)
        return self.began + timedelta(days=days + 4 - days % 4)


def slices(events: Sequence[Event[IncomingData]], size: int) -> list[Sequence[Event[IncomingData]]]:
    """The events in parts of `size`."""
    return [events[at : at + size] for at in range(0, len(events), size)]

"""What upstream teams would send: seeded, through the contracts package, by an ordinary producer."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from credit_contracts.envelope import Event, Headers, encode
from credit_contracts.incoming import EmailBounced, IncomingData, PlanChanged, ProspectExported, ProspectGenerated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DAYS = 40
MONTHLY_CREDITS = (0, 3, 10, 10, 25, 60, None)

_SOURCES: dict[type[IncomingData], tuple[str, str]] = {
    PlanChanged: ("/billing", "plan-changed"),
    ProspectGenerated: ("/campaigns", "prospect-generated"),
    ProspectExported: ("/exports", "prospect-exported"),
    EmailBounced: ("/mailer", "email-bounced"),
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

    def __init__(self, kafka: str, prefix: str) -> None:
        self._prefix = prefix
        self._producer: Any = AIOKafkaProducer(
            bootstrap_servers=kafka, acks="all", enable_idempotence=True, max_request_size=16 * 1024 * 1024
        )

    async def __aenter__(self) -> Upstream:
        await self._producer.start()
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
    """About forty days of a few accounts up to a minute ago, in the order in which it is sent.

    With small plans, so that declines happen; with a late first plan, plan changes now and for later, bounces that
    overtake their charge, free exports, repeats, and periods that end.
    """
    return _Play(random.Random(seed), accounts, events).events()


@dataclass
class _Play:
    rng: random.Random
    accounts: int
    count: int
    began: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=DAYS))
    played: list[Event[IncomingData]] = field(default_factory=list)
    prospects: list[tuple[str, str]] = field(default_factory=list)
    overtaken: list[tuple[str, str]] = field(default_factory=list)

    def events(self) -> list[Event[IncomingData]]:
        names = [f"account-{self.rng.getrandbits(40):x}" for _ in range(self.accounts)]
        late = names[-1]
        step = timedelta(days=DAYS) / (self.count + 2)
        for name in names[:-1]:
            self._play(self._plan(name), self.began)
        for number in range(self.count - self.accounts):
            if number == self.count // 3:
                self._play(self._plan(late), self.began + step * number)
            elif self.rng.random() < 0.1 and self.played:
                self.played.append(self.rng.choice(self.played))  # sent again, the very same
            else:
                self._play(self._something(self.rng.choice(names)), self.began + step * number)
        return self._a_little_out_of_order()

    def _play(self, data: IncomingData, at: datetime) -> None:
        self.played.append(event(data, at, f"{self.rng.getrandbits(64):x}"))

    def _plan(self, account: str) -> PlanChanged:
        return PlanChanged(
            account_id=account,
            plan_id=f"plan-{self.rng.randrange(5)}",
            monthly_credits=self.rng.choice(MONTHLY_CREDITS),
            time_zone=self.rng.choice([None, "Europe/Berlin", "America/New_York"]),
        )

    def _something(self, account: str) -> IncomingData:
        chance = self.rng.random()
        if chance < 0.03:
            return self._plan(account)
        if chance < 0.10:
            self.overtaken.append((account, self._new_prospect()))
            return EmailBounced(account_id=account, prospect_id=self.overtaken[-1][1])
        if chance < 0.16 and self.overtaken:
            owner, prospect = self.overtaken.pop(0)
            return ProspectGenerated(account_id=owner, prospect_id=prospect)
        if chance < 0.30 and self.prospects:
            owner, prospect = self.rng.choice(self.prospects)
            return EmailBounced(
                account_id=owner, prospect_id=prospect, bounce_type=self.rng.choice(["hard", "hard", "soft"])
            )
        if chance < 0.45 and self.prospects:
            owner, prospect = self.rng.choice(self.prospects)
            return ProspectExported(account_id=owner, prospect_id=prospect)
        prospect = self._new_prospect()
        self.prospects.append((account, prospect))
        kind = ProspectGenerated if chance < 0.8 else ProspectExported
        return kind(account_id=account, prospect_id=prospect)

    def _new_prospect(self) -> str:
        return f"prospect-{self.rng.getrandbits(48):x}"

    def _a_little_out_of_order(self) -> list[Event[IncomingData]]:
        places = [number + self.rng.choice([0, 0, 0, 0, 5]) for number in range(len(self.played))]
        return [one for _, one in sorted(zip(places, self.played, strict=True), key=lambda pair: pair[0])]


def slices(events: Sequence[Event[IncomingData]], size: int) -> list[Sequence[Event[IncomingData]]]:
    """The events in parts of `size`."""
    return [events[at : at + size] for at in range(0, len(events), size)]

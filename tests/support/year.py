"""Fourteen months of thousands of accounts, as one backlog: what is sent, and what the model makes of it.

Whatever happens by itself is due around midnight, and what is late is told on the day on which it occurred: so it makes
no difference whether a sweep or an event brings it about. But a first plan may be told months late.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from credit_contracts.envelope import Event
from credit_contracts.incoming import WRONG_EMAIL
from credit_contracts.naming import topic_name
from credit_contracts.topics import partition_for
from credit_service import bounds
from property.machine import data_of
from property.model import KINDS, Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from credit_contracts.incoming import IncomingData

DAY = timedelta(days=1)
BEGAN = datetime(2025, 8, 1, tzinfo=UTC)
END = datetime(2026, 10, 5, 12, tzinfo=UTC)
DAYS = (END - BEGAN).days
SOURCE = "/upstream"
ZONES = (None, None, "Europe/Berlin", "America/New_York", "Asia/Kolkata")
# In none of these zones a month begins at another time of the day, by UTC, than from 17:00 to 05:00.
FIRST_HOUR, LAST_HOUR = 5.5, 16.5
LIMITS = (0, 1, 2, 3, 5, 10, None)


@dataclass(frozen=True, slots=True)
class Told:
    """One message: what happened `at`, and when it `came`."""

    account_id: str
    kind: str
    name: str
    at: datetime
    came: datetime
    fields: dict[str, Any]

    @property
    def event(self) -> Event[IncomingData]:
        data = data_of(self.account_id, self.kind, **self.fields)
        return Event(SOURCE, self.name, topic_name(type(data)), self.at, data)

    @property
    def order(self) -> tuple[datetime, int, str]:
        return self.at, KINDS.index(self.kind), self.name


@dataclass
class _Account:
    account_id: str
    first_plan_day: float
    prospects: list[str] = field(default_factory=list)
    purchases: list[dict[str, Any]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)


def year(seed: int, *, accounts: int, events: int) -> list[Told]:
    """All messages in the order in which they come."""
    rng = random.Random(seed)
    told: list[Told] = []
    for number in range(accounts):
        account = _Account(f"account-{number:05}-{rng.getrandbits(24):06x}", _first_plan_day(rng))
        days = sorted(rng.uniform(0, DAYS) for _ in range(events // accounts - 1))
        told += _first_plan(rng, account)
        for day in days:
            _something(rng, account, day)
        told += account.told
    return sorted(told, key=lambda one: (one.came, one.name))


def _first_plan_day(rng: random.Random) -> float:
    """Mostly soon; for some it is months late; a few never have a plan."""
    chance = rng.random()
    return -1 if chance < 0.02 else rng.uniform(60, 300) if chance < 0.12 else rng.uniform(0, 20)


def _first_plan(rng: random.Random, account: _Account) -> list[Told]:
    if account.first_plan_day < 0:
        return []
    came = _time(rng, account.first_plan_day)
    # Some are told long after they took effect, and what waited for them is decided as of then.
    at = came if rng.random() < 0.7 else _time(rng, rng.uniform(0, account.first_plan_day))
    return [_told(rng, account, "plan", min(at, came), came, _plan(rng, at=min(at, came), is_first=True))]


def _plan(rng: random.Random, *, at: datetime, is_first: bool = False) -> dict[str, Any]:
    effective = _midnight(at, rng.randint(1, 50)) if not is_first and rng.random() < 0.4 else None
    zone = rng.choice(ZONES) if is_first else None
    anchor = None
    if is_first:
        # Midnight there, so that months begin while nothing happens.
        hours = {None: 0, "Europe/Berlin": -1, "America/New_York": 5, "Asia/Kolkata": -5.5}[zone]
        anchor = _midnight(at, -rng.randint(0, 40)) + timedelta(hours=hours)
    return {"limit": rng.choice(LIMITS), "effective": effective, "anchor": anchor, "zone": zone}


def _something(rng: random.Random, account: _Account, day: float) -> None:
    at = _time(rng, day)
    came = at if rng.random() < 0.85 else _later_that_day(rng, at)
    chance = rng.random()
    if (known := _said_since_the_first_plan(account, came)) and chance < 0.05:
        again = rng.choice(known)
        kind, fields = again.kind, again.fields
        if rng.random() < 0.2:
            kind, fields = "generated", {"prospect": "somebody else"}
        account.told.append(Told(account.account_id, kind, again.name, again.at, came, fields))
        return
    if chance < 0.08 and account.first_plan_day >= 0 and day > account.first_plan_day + 1:
        account.told.append(_told(rng, account, "plan", at, came, _plan(rng, at=at)))
        return
    if chance < 0.13:
        account.told.append(_told(rng, account, "purchase", at, came, _purchase(rng, account, at)))
        return
    kind, prospect = _of_a_prospect(rng, account, chance)
    of_kind: dict[str, dict[str, Any]] = {
        "bounced": {"hard": rng.random() < 0.8},
        "staged": {"stage": WRONG_EMAIL if rng.random() < 0.8 else "contacted"},
    }
    account.told.append(_told(rng, account, kind, at, came, {"prospect": prospect, **of_kind.get(kind, {})}))


def _said_since_the_first_plan(account: _Account, came: datetime) -> list[Told]:
    """What may be told again, with no effect whenever it is decided.

    What came before the plan may have been refused, since enough waited: told again, it would be decided, and be late.
    """
    planned = BEGAN + account.first_plan_day * DAY
    if account.first_plan_day < 0 or came < planned:
        return account.told
    return [one for one in account.told if one.came > planned + DAY]


def _of_a_prospect(rng: random.Random, account: _Account, chance: float) -> tuple[str, str]:
    if chance < 0.6 or not account.prospects:
        account.prospects.append(f"p-{len(account.prospects)}-{rng.getrandbits(16):x}")
        return rng.choice(["generated"] * 6 + ["exported", "imported", "bounced", "staged"]), account.prospects[-1]
    kinds = "exported generated imported transferred staged staged bounced bounced bounced deleted deleted".split()
    return rng.choice(kinds), rng.choice(account.prospects[-6:])


def _purchase(rng: random.Random, account: _Account, at: datetime) -> dict[str, Any]:
    lasting = [one for one in account.purchases if one["expires"] is None or one["expires"] > at + DAY]
    if lasting and rng.random() < 0.3:
        return rng.choice(lasting)
    expires = _midnight(at, rng.randint(2, 90)) if rng.random() < 0.6 else None
    name = f"b-{rng.getrandbits(32):x}"
    account.purchases.append({"purchase": name, "credits": rng.randint(1, 5), "expires": expires})
    return account.purchases[-1]


def _told(
    rng: random.Random, account: _Account, kind: str, at: datetime, came: datetime, fields: dict[str, Any]
) -> Told:
    return Told(account.account_id, kind, f"{rng.getrandbits(64):016x}", at, came, fields)


def _time(rng: random.Random, day: float) -> datetime:
    """On that day, at a time at which nothing happens by itself."""
    hours = FIRST_HOUR + (day % 1) * (LAST_HOUR - FIRST_HOUR)
    return BEGAN + int(day) * DAY + timedelta(hours=hours, microseconds=rng.randrange(1_000))


def _later_that_day(rng: random.Random, at: datetime) -> datetime:
    last = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=LAST_HOUR)
    return at + rng.random() * (last - at)


def _midnight(at: datetime, days: int) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + days * DAY


class Declining(Model):
    """The model, which remembers what it declined."""

    def __init__(self) -> None:
        super().__init__(seats=bounds.PARKED_MAX, remembered=bounds.HISTORY_MAX)
        self.was_declined: set[str] = set()
        self.refused = 0

    def _apply(self, kind: str, at: datetime, name: str, fields: dict[str, object]) -> str:
        said = super()._apply(kind, at, name, fields)
        if said == "declined":
            self.was_declined.add(name)
        return said


def modelled(told: Iterable[Told], partitions: int) -> dict[str, Declining]:
    """What the model makes of the accounts, each told of its messages in the order in which a backlog is decided."""
    models: dict[str, Declining] = defaultdict(Declining)
    for one in merged(told, partitions):
        model = models[one.account_id]
        if model.happens(one.name, one.kind, one.at, one.came, **one.fields) in REFUSED:
            model.refused += 1
    for model in models.values():
        model.passes(END)
    return models


REFUSED = {"conflict", "parked-full"}


def merged(told: Iterable[Told], partitions: int) -> Iterator[Told]:
    """The messages of each partition number: the earliest head of its topics goes first."""
    queues: dict[int, dict[str, list[Told]]] = defaultdict(lambda: defaultdict(list))
    for one in told:
        queues[partition_for(one.account_id.encode(), partitions)][one.kind].append(one)
    for number in sorted(queues):
        yield from heapq.merge(*queues[number].values(), key=lambda one: one.order)

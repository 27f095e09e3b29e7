"""Events, their order of occurrence, and wakes: inputs of `decide`. All are values."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from credit_contracts.incoming import IncomingData, PlanChanged
from credit_contracts.naming import topic_name

Order = tuple[datetime, int, str, str]
"""The order of occurrence. The rank of the type breaks ties, then source and id."""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest time at which an event may have occurred."""

AHEAD_MAX = timedelta(minutes=5)
"""How far an event's time may lie ahead of the database's clock and of the broker's append time."""


class Place(NamedTuple):
    """The position of a message in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Incoming:
    """One readable event, with its idempotency key and the hash of its content (16 bytes each).

    `appended_at` is the broker's append time; None if the broker does not give it.
    """

    account_id: str
    key: bytes
    content: bytes
    source: str
    id: str
    type: str
    occurred_at: datetime
    data: IncomingData
    place: Place
    appended_at: datetime | None = None

    @property
    def order(self) -> Order:
        """Its place among the events of its account."""
        return (self.occurred_at, TYPE_RANK[self.type], self.source, self.id)


PLAN_CHANGED = topic_name(PlanChanged)

# At the same instant: plan, purchase, import, generate, export, transfer, stage, bounce, delete.
TYPE_RANK = {
    PLAN_CHANGED: 0,
    "credits-purchased": 1,
    "prospect-imported": 2,
    "prospect-generated": 3,
    "prospect-exported": 4,
    "prospect-transferred": 5,
    "prospect-stage-changed": 6,
    "email-bounced": 7,
    "prospect-deleted": 8,
}


@dataclass(frozen=True, slots=True)
class Wake:
    """Runs the account's timers up to and including `up_to`, at most `timers_max` of them."""

    account_id: str
    up_to: datetime
    timers_max: int


@dataclass(slots=True)
class Cause:
    """The decided event that caused a balance change, or that a prospect's history contains."""

    position: int
    source: str
    id: str
    type: str
    occurred_at: datetime
    prospect_id: str | None = None

    @property
    def order(self) -> Order:
        """Its place among the events of a history."""
        return (self.occurred_at, TYPE_RANK[self.type], self.source, self.id)

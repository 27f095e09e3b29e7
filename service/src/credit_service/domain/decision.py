"""What comes out of deciding: decisions, balance changes, parked and refused events. All values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from credit_contracts.incoming import IncomingData, PlanChanged
from credit_contracts.naming import topic_name
from credit_contracts.outgoing import Reason

if TYPE_CHECKING:
    from credit_service.domain.command import Answer

Order = tuple[datetime, int, str, str]
"""Order of occurrence; ties go by the rank of the type, then source and id."""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing that is reported may have occurred before."""

Outcome = Literal[
    "charged",
    "free",
    "declined",
    "refunded",
    "forfeited",
    "awaiting-charge",
    "no-effect",
    "purchased",
    "imported",
    "deleted",
    "refund-requested",
    "rejected",
    "opened",
    "adjusted",
    "plan-in-force",
    "plan-pending",
    "plan-superseded",
    "renewed",
    "expired",
]

Refusal = Literal["reserved-source", "conflict", "from-the-future", "before-1970", "parked-full", "parked-too-long"]


class Place(NamedTuple):
    """Where a message lies in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Incoming:
    """One readable event, with its idempotency key and the hash of its content (16 bytes each).

    `appended_at` is Kafka's own time of the record; None where it is not known.
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
        """Where it goes among the others of its account."""
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
    """Asks for the account's timers up to and including `up_to`, at most `timers_max` of them."""

    account_id: str
    up_to: datetime
    timers_max: int


@dataclass(slots=True)
class Cause:
    """The decided event that a balance change goes back to, or that was told of a prospect."""

    position: int
    source: str
    id: str
    type: str
    occurred_at: datetime
    prospect_id: str | None = None

    @property
    def order(self) -> Order:
        """Where it goes among what other events told."""
        return (self.occurred_at, TYPE_RANK[self.type], self.source, self.id)


@dataclass(slots=True)
class Decision:
    """The recorded outcome of one event; `place` is None for the service's own timers and for commands."""

    account_id: str
    position: int
    key: bytes
    content: bytes
    source: str
    id: str
    type: str
    outcome: Outcome
    occurred_at: datetime
    decided_at: datetime
    place: Place | None
    prospect_id: str | None = None
    declined_in_period: int | None = None
    period_ends_at: datetime | None = None
    note: str | None = None


@dataclass(slots=True)
class Change:
    """One balance change: `lines` are (grant_id, signed credits), empty where no grant was touched.

    The balances are as published: None while the account is unlimited. `delta` is the sum of the lines.
    """

    account_id: str
    sequence: int
    previous_balance: int | None
    balance: int | None
    reason: Reason
    cause: Cause
    lines: Sequence[tuple[int, int]]
    delta: int
    period_ends_at: datetime | None
    occurred_at: datetime
    recorded_at: datetime
    refunds_sequence: int | None = None


RequestStatus = Literal["waiting", "approved", "rejected", "overtaken"]
"""`overtaken`: the credit was given back before anybody decided."""


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A request to refund the charge `charge_sequence`, opened by the decision at `position`."""

    account_id: str
    charge_sequence: int
    prospect_id: str
    position: int
    status: RequestStatus = "waiting"


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """What a person made of a request, by the decision at `position`, and why."""

    account_id: str
    charge_sequence: int
    status: RequestStatus
    position: int
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a person gave or took, by the decision at `position`, and why."""

    account_id: str
    position: int
    amount: int
    expires_at: datetime | None
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that is not decided: it becomes a dead letter with this reason."""

    incoming: Incoming
    reason: Refusal


@dataclass(slots=True)
class Decided:
    """All that one call of `decide` brought about, beside the accounts that it changed in place."""

    decisions: list[Decision] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    parked: list[Incoming] = field(default_factory=list)
    unparked: list[Incoming] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    duplicates: list[Incoming] = field(default_factory=list)
    requests: list[RefundRequest] = field(default_factory=list)
    requests_overtaken: list[tuple[str, int]] = field(default_factory=list)
    decided_requests: list[DecidedRequest] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    answers: "list[Answer]" = field(default_factory=list)

"""The results of one event: a decision, balance changes, a request, a refusal. All are values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from credit_contracts.outgoing import Reason
from credit_service.domain.event import Cause, Incoming, Place

Outcome = Literal[
    "charged",
    "free",
    "declined",
    "refunded",
    "forfeited",
    "awaiting-charge",
    "too-late",
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

Refusal = Literal[
    "reserved-source",
    "conflict",
    "from-the-future",
    "before-1970",
    "account-full",
    "parked-full",
    "parked-too-long",
    "undecidable",
]


@dataclass(slots=True)
class Decision:
    """The recorded outcome of one event; `place` is None for timers and commands.

    `as_it_stands`: an operator had it decided without running the timers that were due.
    """

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
    as_it_stands: bool = False


@dataclass(slots=True)
class Change:
    """One balance change: `lines` are (grant_id, signed credits), empty if no grant changed.

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
"""`overtaken`: the credit was given back before an operator decided."""


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A request to refund the charge `charge_sequence`, opened by the decision at `position`.

    `grant_id` is the grant that was charged; None if the charge took no grant, or was made before the ledger.
    """

    account_id: str
    charge_sequence: int
    prospect_id: str
    position: int
    status: RequestStatus = "waiting"
    grant_id: int | None = None


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """An operator's decision of a request, made by the decision at `position`."""

    account_id: str
    charge_sequence: int
    status: RequestStatus
    position: int
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Credits that an operator gave or took, by the decision at `position`."""

    account_id: str
    position: int
    amount: int
    expires_at: datetime | None
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that is not decided: it becomes a dead letter with this reason and detail."""

    incoming: Incoming
    reason: Refusal
    detail: str | None = None

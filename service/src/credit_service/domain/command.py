"""What people order: to decide a refund request, to give or take credits, to bring a customer in. All values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from credit_service.domain.decision import Outcome
from credit_service.domain.prospect import ProspectOrigin


@dataclass(frozen=True, slots=True)
class DecideRefund:
    """Approves or rejects the refund request of the charge `charge_sequence`."""

    charge_sequence: int
    is_approved: bool
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Adjust:
    """Gives (`amount` above zero) or takes credits. What is given ends at `expires_at`; None: it does not."""

    amount: int
    expires_at: datetime | None
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An account as it stands elsewhere: its plan, where its months begin, and what is left of this month's credits."""

    plan_id: str
    monthly_credits: int | None
    seats: int | None
    email_accounts: int | None
    anchor_at: datetime
    time_zone: str
    remaining: int


@dataclass(frozen=True, slots=True)
class OpenPurchase:
    """What is left of credits that were bought."""

    purchase_id: str
    remaining: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenProspect:
    """A prospect that an account owns already; unless it was imported, a credit was paid for it."""

    prospect_id: str
    origin: ProspectOrigin


CommandData: TypeAlias = DecideRefund | Adjust | OpenAccount | OpenPurchase | OpenProspect

CommandType = Literal["refund-approved", "refund-rejected", "adjustment", "opening"]

CommandRefusal = Literal[
    "conflict",
    "unknown-request",
    "already-decided",
    "already-refunded",
    "has-a-plan",
    "not-open",
    "being-opened",
    "below-zero",
    "purchase-known",
    "prospect-known",
    "expired",
    "behind",
    "account-full",
]


@dataclass(frozen=True, slots=True)
class Command:
    """One order on one account. `id` names it: ordered once more, it has no second effect.

    `leaves_open`: more of its account is to be opened, in a later transaction.
    """

    account_id: str
    key: bytes
    content: bytes
    id: str
    type: CommandType
    data: CommandData
    leaves_open: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command: the recorded outcome, also when it was ordered before, or why it has no effect.

    `read_until`: how far the account's events are read, where that is why (`behind`).
    """

    command: Command
    outcome: Outcome | CommandRefusal
    is_new: bool
    read_until: datetime | None = None

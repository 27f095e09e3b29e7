"""What people order: to decide a refund request, to give or take credits, to bring a customer in. All values."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Literal, TypeAlias, assert_never

from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.decision import Outcome
from credit_service.domain.idempotency import key_of
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


def command_of(account_id: str, data: CommandData, command_id: str = "") -> Command:
    """The command to do `data`. Named by `command_id` is what a person decides; an opening by what it opens."""
    command_type: CommandType = "opening"
    match data:
        case DecideRefund():
            command_type = "refund-approved" if data.is_approved else "refund-rejected"
            name = f"refund:{command_id}"
        case Adjust():
            command_type, name = "adjustment", f"adjustment:{command_id}"
        case OpenAccount():
            name = "opening"
        case OpenPurchase():
            name = f"opening:purchase:{data.purchase_id}"
        case OpenProspect():
            name = f"opening:prospect:{data.prospect_id}"
        case unreachable:
            assert_never(unreachable)
    known = json.dumps(asdict(data), default=str)
    content = blake2b(f"{command_type}\n{known}".encode(), digest_size=16).digest()
    return Command(account_id, key_of(SERVICE_SOURCE, name), content, name, command_type, data)

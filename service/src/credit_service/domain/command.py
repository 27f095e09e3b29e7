"""Commands of operators: to decide a refund request, to adjust credits, to open an account. All are values."""

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
    """Gives (`amount` above zero) or takes credits. Given credits expire at `expires_at`; None: never."""

    amount: int
    expires_at: datetime | None
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """Opens an account with its state elsewhere: plan, billing anchor, and the credits left of this month."""

    plan_id: str
    monthly_credits: int | None
    seats: int | None
    email_accounts: int | None
    anchor_at: datetime
    time_zone: str
    remaining: int


@dataclass(frozen=True, slots=True)
class OpenPurchase:
    """Adds the credits that are left of a purchase."""

    purchase_id: str
    remaining: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenProspect:
    """Adds a prospect that the account has already; unless it was imported, a credit was paid for it."""

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
    """One command on one account. Repeated with the same `id`, it has no second effect.

    `leaves_open`: a later transaction opens more of the account.
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
    """The result of a command: its recorded outcome, also if it is repeated, or the reason why it has no effect.

    `read_until` is given with the reason `behind`: the time up to which the account's events were read.
    """

    command: Command
    outcome: Outcome | CommandRefusal
    is_new: bool
    read_until: datetime | None = None


def command_of(account_id: str, data: CommandData, command_id: str = "") -> Command:
    """The command that carries out `data`. Its id is `command_id`; the id of an opening follows from what it opens."""
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

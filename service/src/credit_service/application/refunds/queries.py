"""Refund requests as operators see them: the request, its charge, and its decision."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from credit_contracts.times import Instant
from credit_service.application.queries import JsonAnswer, ReadPlace
from credit_service.domain.decision import Outcome, RequestStatus
from credit_service.domain.grant import Origin

PaidBy = Literal["grant", "unlimited", "before-ledger"]
"""The source of the charge's credit; on an unlimited plan it was free, and `before-ledger` came with an opening."""


class RequestLine(JsonAnswer):
    """One request with its charge; `charged_at` None: before the ledger, with a negative number."""

    account_id: str
    charge_sequence: int
    prospect_id: str
    status: RequestStatus
    requested_at: Instant
    age_seconds: int
    charged_at: Instant | None
    paid_by: PaidBy
    grant_id: int | None
    grant_origin: Origin | None
    decided_at: Instant | None
    operator: str | None
    reason: str | None


class RequestCause(JsonAnswer):
    """The event of a decision, and its outcome; `place` None for a command."""

    position: int
    source: str
    id: str
    type: str
    outcome: Outcome
    occurred_at: Instant
    decided_at: Instant
    place: ReadPlace | None


class ChargeEntry(JsonAnswer):
    """The entry of the charge; balances None: unlimited."""

    previous_balance: int | None
    balance: int | None
    period_ends_at: Instant | None
    recorded_at: Instant


class ShownRequest(RequestLine):
    """One request with all details. `entry` None: the charge is before the ledger. `refund_sequence`: its refund."""

    entry: ChargeEntry | None
    charged_by: RequestCause | None
    asked_by: RequestCause | None
    decided_by: RequestCause | None
    refund_sequence: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The number of waiting requests, at that instant of the database's clock."""

    requests: int
    at: datetime


class After(NamedTuple):
    """The end of a page, in the order in which requests came."""

    requested_at: datetime
    account_no: int
    charge_sequence: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some waiting requests, the oldest first; `after` is the start of the next page, None on the last."""

    lines: Sequence[RequestLine]
    after: After | None


class RefundRequests(Protocol):
    """Reads refund requests. Raises `LedgerUnavailable`."""

    async def knows(self, account_id: str) -> bool:
        """Whether the account exists."""

    async def waiting(self, account_id: str | None) -> Waiting:
        """Counts the waiting requests, of an account or of all."""

    async def page(self, account_id: str | None, up_to: datetime, after: After | None, limit: int) -> Page:
        """The waiting requests that came up to `up_to`, of an account or of all."""

    def lines(
        self, status: RequestStatus | None, account_id: str | None, limit: int
    ) -> AsyncGenerator[Sequence[RequestLine]]:
        """The oldest `limit` requests, of an account or of all, of a status or of any; some at a time."""

    async def request(self, account_id: str, charge_sequence: int) -> ShownRequest | None:
        """One request with all details; None if there is none."""

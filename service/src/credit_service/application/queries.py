"""The queries of the ledger, with their answers in the JSON form that the HTTP API and the commands share."""

from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from credit_contracts.outgoing import Cause, Reason
from credit_contracts.times import Instant
from credit_service.domain.decision import Outcome
from credit_service.domain.grant import Origin

ENTRIES_LIMIT_MAX = 1_000


class JsonAnswer(BaseModel):
    """The base of all answers: immutable values, instants written as in messages."""

    # Clients may rely on every field, also on one that has a default.
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class PlanInForce(JsonAnswer):
    """The plan in force; `monthly_credits` None is unlimited."""

    plan_id: str
    monthly_credits: int | None
    seats: int | None
    email_accounts: int | None


class CurrentPeriod(JsonAnswer):
    """The billing period, from `starts_at` up to but without `ends_at`."""

    starts_at: Instant
    ends_at: Instant


class OpenGrant(JsonAnswer):
    """A grant that has not expired; `expires_at` None: it never does."""

    grant_id: int
    origin: Origin
    amount: int
    remaining: int
    effective_at: Instant
    expires_at: Instant | None


class AccountSnapshot(JsonAnswer):
    """An account's current state. `balance` None is unlimited; `grants` in the order in which they burn."""

    account_id: str
    balance: int | None
    unlimited: bool
    sequence: int
    plan: PlanInForce | None
    period: CurrentPeriod | None
    grants: list[OpenGrant]
    declined_in_period: int


class Entry(JsonAnswer):
    """One row of the ledger, with the event that caused it; the balances are those of its whole balance change."""

    sequence: int
    line: int
    grant_id: int | None
    amount: int
    previous_balance: int | None
    balance: int | None
    reason: Reason
    cause: Cause
    prospect_id: str | None
    refunds_sequence: int | None
    period_ends_at: Instant | None
    occurred_at: Instant
    recorded_at: Instant


class EntriesPage(JsonAnswer):
    """The entries of some balance changes in a row; `next_after` is the start of the next page, None on the last."""

    account_id: str
    entries: list[Entry]
    next_after: int | None


class ReadPlace(JsonAnswer):
    """Where an event was read; `topic` as the contracts name it."""

    topic: str
    partition: int
    offset: int


class DecidedEvent(JsonAnswer):
    """The decision on an event; `place` None for the service's own timers."""

    status: Literal["decided"] = "decided"
    account_id: str
    source: str
    id: str
    type: str
    occurred_at: Instant
    outcome: Outcome
    position: int
    decided_at: Instant
    prospect_id: str | None
    declined_in_period: int | None
    note: str | None
    place: ReadPlace | None


class ParkedEvent(JsonAnswer):
    """An event that waits for its account's first plan."""

    status: Literal["parked"] = "parked"
    account_id: str
    source: str
    id: str
    type: str
    occurred_at: Instant
    parked_at: Instant
    place: ReadPlace


class Reads(Protocol):
    """Reads the ledger. Each answer is consistent in itself; raises `LedgerUnavailable`."""

    async def account(self, account_id: str) -> AccountSnapshot | None:
        """The account; None if no event ever named it."""

    async def entries(self, account_id: str, *, after: int, limit: int) -> EntriesPage | None:
        """The entries of the `limit` balance changes that follow the sequence `after`; None: no such account."""

    async def event(self, account_id: str, source: str, event_id: str) -> DecidedEvent | ParkedEvent | None:
        """The decision on the event, or its parking; None if it never arrived, or is a dead letter."""

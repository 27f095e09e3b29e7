"""Exports of accounts and entries, by the million, in one consistent snapshot."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from credit_contracts.outgoing import Reason


class ExportedAccount(NamedTuple):
    """An account's current state. `balance` None: unlimited, and so is `monthly_credits` beside a plan."""

    account_id: str
    balance: int | None
    unlimited: bool
    plan_id: str | None
    monthly_credits: int | None
    period_ends_at: datetime | None
    declined_in_period: int
    sequence: int


class ExportedEntry(NamedTuple):
    """One row of the ledger, with the event that caused it; the balances are those of its whole balance change."""

    account_id: str
    sequence: int
    line: int
    reason: Reason
    grant_id: int | None
    amount: int
    previous_balance: int | None
    balance: int | None
    prospect_id: str | None
    cause_source: str
    cause_id: str
    cause_type: str
    refunds_sequence: int | None
    occurred_at: datetime
    recorded_at: datetime
    period_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class WhichAccounts:
    """Selects accounts by all of these. `below`: the balance is below it; an unlimited account has none."""

    prefix: str = ""
    below: int | None = None
    is_unlimited: bool = False
    plan_id: str | None = None
    has_parked: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class WhichEntries:
    """Selects entries that were recorded from `since` up to but without `until`; None does not restrict."""

    account_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None


class UnknownAccount(Exception):  # noqa: N818 - reads as the condition that it reports
    """No event ever named this account."""


class Exports(Protocol):
    """Reads rows in blocks, so that memory does not grow with their number. Raises `LedgerUnavailable`."""

    def accounts(self, which: WhichAccounts) -> AsyncGenerator[list[ExportedAccount]]:
        """The accounts in the order of their ids."""

    def entries(self, which: WhichEntries) -> AsyncGenerator[list[ExportedEntry]]:
        """The entries account by account, in the order of their sequences. Raises `UnknownAccount`.

        No index has the time at which an entry was recorded: a range of time over all accounts reads all entries, in
        the order of their primary key.
        """

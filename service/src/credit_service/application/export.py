"""Rows by the million, for those who reckon on with them: accounts and entries, in one consistent snapshot."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from credit_contracts.outgoing import Reason


class AccountRow(NamedTuple):
    """An account as it stands. `balance` None: unlimited, and so is `monthly_credits` beside a plan."""

    account_id: str
    balance: int | None
    unlimited: bool
    plan_id: str | None
    monthly_credits: int | None
    period_ends_at: datetime | None
    declined_in_period: int
    sequence: int


class EntryRow(NamedTuple):
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
    """Those that all of it holds for. `below`: a balance under it, which an unlimited account has not."""

    prefix: str = ""
    below: int | None = None
    is_unlimited: bool = False
    plan_id: str | None = None
    has_parked: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class WhichEntries:
    """Those recorded from `since` up to but without `until`; None leaves the bound, or the choice, open."""

    account_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None


class UnknownAccount(Exception):  # noqa: N818 - reads as the condition that it reports
    """No event ever named this account."""


class Exports(Protocol):
    """Hands rows out in blocks, so that memory does not grow with them. Raises `LedgerUnavailable`."""

    def accounts(self, which: WhichAccounts) -> AsyncGenerator[list[AccountRow]]:
        """The accounts in the order of their ids."""

    def entries(self, which: WhichEntries) -> AsyncGenerator[list[EntryRow]]:
        """The entries account by account, in the order of their sequences. Raises `UnknownAccount`.

        No index knows when an entry was recorded: a range of time out of all accounts is one pass through all entries,
        in the order of their primary key.
        """

"""The port of the ledger: its transactions, and the accounts that wait for something."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from credit_service.application.ports.offsets import TopicPartition
from credit_service.application.ports.outbox import WaitingEvent
from credit_service.application.record import Record
from credit_service.domain.account import Account
from credit_service.domain.command import Command
from credit_service.domain.decided import Decided
from credit_service.domain.event import Incoming, Wake


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not decided, with the reason and a bounded detail that contains no values.

    `is_encoded_anew`: its bytes are not those in Kafka, and are always kept.
    """

    record: Record
    reason: str
    detail: str
    is_encoded_anew: bool = False


@dataclass(slots=True)
class ToStore:
    """The writes of one transaction; `is_traced`: rows of the outbox may have a trace.

    Once stored, `left_out` has the number of dead letters that are kept without their bytes, by topic.
    """

    now: datetime
    accounts: Mapping[str, Account] = field(default_factory=dict)
    decided: Decided = field(default_factory=Decided)
    outbox: Sequence[WaitingEvent] = ()
    dead_letters: Sequence[DeadLetter] = ()
    next_offsets: Mapping[TopicPartition, int] = field(default_factory=dict)
    is_traced: bool = False
    left_out: Counter[str] = field(default_factory=Counter)


class LedgerTransaction(Protocol):
    """One transaction on the ledger; it ends with its context, and is rolled back on an exception."""

    async def lock_offsets(self, expected: Mapping[TopicPartition, int]) -> None:
        """Locks the partitions' stored offsets; raises `OffsetsMoved` if one is not as expected."""

    async def lock_and_load(self, inputs: Sequence[Incoming | Wake | Command]) -> dict[str, Account]:
        """Locks the accounts of the inputs and loads them with the rows that the inputs need; new ones are created."""

    async def now(self) -> datetime:
        """The database's clock, the only one that counts."""

    async def take_expired(
        self, waiting_max: timedelta, numbers: Collection[int], partitions: int, limit: int
    ) -> list[Incoming]:
        """Removes events parked for longer than `waiting_max`, of the partition `numbers` of `partitions`."""

    async def store(self, what: ToStore) -> None:
        """Writes sets, never row by row."""


class Transactions(Protocol):
    """Opens transactions on the ledger. Raises the faults of `application.errors`."""

    def transaction(self, *, keep: bool = True) -> AbstractAsyncContextManager[LedgerTransaction]:
        """Opens a transaction on a connection of its own; without `keep` it is rolled back at its end."""


class ReadSoFar(Protocol):
    """How far the events of accounts are read. Raises the faults of `application.errors`."""

    async def accounts_behind(self, account_ids: Collection[str], fresh: timedelta) -> dict[str, datetime]:
        """The accounts whose events are not read up to `fresh` ago, with the instant up to which they are read.

        Accounts of a partition number that was never read are left out.
        """


class Ledger(Transactions, ReadSoFar, Protocol):
    """The ledger in the database. Its methods raise the faults of `application.errors`."""

    async def accounts_with_due_timers(
        self, passed_at: Mapping[int, datetime | None], partitions: int, limit: int
    ) -> list[tuple[str, datetime]]:
        """Accounts whose next timer is due, soonest first, with the instant up to which timers may run.

        `passed_at` has the partition numbers to look at, with the event time that all their topics have passed; None
        where they are read to their ends and the database's clock counts instead.
        """

    async def accounts_to_unpark(self, limit: int) -> list[str]:
        """Accounts that have a plan and still have events parked."""

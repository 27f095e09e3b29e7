"""What the application needs of its surroundings."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from credit_service.application.record import Record
from credit_service.domain.account import Account
from credit_service.domain.decision import Decided, Incoming, Wake

TopicPartition = tuple[str, int]
Positions = dict[TopicPartition, int]

Reach = Callable[[str], None]
"""Called at the named points of the way of an event; tests end the process there."""


def no_failpoints(_: str) -> None:
    """The `Reach` of every real deployment."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not decided, with the reason and, bounded and without values, what was wrong."""

    record: Record
    reason: str
    detail: str


@dataclass(slots=True)
class OutboxRow:
    """One event to be published: Kafka's topic is `topic` behind the deployment's prefix."""

    topic: str
    key: bytes
    event_id: str
    event_time: datetime
    payload: bytes


@dataclass(slots=True)
class ToStore:
    """All that one transaction writes."""

    now: datetime
    accounts: Mapping[str, Account] = field(default_factory=dict)
    decided: Decided = field(default_factory=Decided)
    outbox: Sequence[OutboxRow] = ()
    dead_letters: Sequence[DeadLetter] = ()
    next_offsets: Mapping[TopicPartition, int] = field(default_factory=dict)


class LedgerTransaction(Protocol):
    """One transaction on the ledger; it commits when its context ends without an exception."""

    async def lock_offsets(self, expected: Mapping[TopicPartition, int]) -> None:
        """Holds the partitions' stored offsets; raises `OffsetsMoved` if one is not as expected."""

    async def lock_and_load(self, inputs: Sequence[Incoming | Wake]) -> dict[str, Account]:
        """The accounts that the inputs name, locked, with what the inputs ask for; new ones are opened."""

    async def now(self) -> datetime:
        """The database's clock, the only one that counts."""

    async def store(self, what: ToStore) -> None:
        """Writes sets, never row by row."""


class Ledger(Protocol):
    """The ledger in the database. Its methods raise the faults of `application.faults`."""

    def transaction(self) -> AbstractAsyncContextManager[LedgerTransaction]:
        """Opens a transaction on a connection of its own."""

    async def accounts_with_due_timers(
        self, passed_at: Mapping[int, datetime | None], partitions: int, limit: int
    ) -> list[tuple[str, datetime]]:
        """Accounts whose next timer is due, soonest first, with the instant up to which it may happen.

        `passed_at` names the partition numbers that are asked about, with the event time that all their topics have
        passed; None where they are read to their ends and the database's clock counts instead.
        """

    async def accounts_to_unpark(self, limit: int) -> list[str]:
        """Accounts that have a plan and still have events parked."""

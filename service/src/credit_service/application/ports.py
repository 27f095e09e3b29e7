"""What the application needs of its surroundings."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from credit_service.application.kept_record import Headers
from credit_service.application.record import Record
from credit_service.domain.account import Account
from credit_service.domain.command import Command
from credit_service.domain.decided import Decided
from credit_service.domain.event import Incoming, Place, Wake

TopicPartition = tuple[str, int]
Positions = dict[TopicPartition, int]

Skipped = Mapping[TopicPartition, Sequence[tuple[int, int]]]
"""Offsets that were not read, of each partition: from the first to the one behind the last."""

ReportProblem = Callable[[str | None], None]
"""Called with what is wrong, in plain words, and with None once it is not any more."""


def ignore_problem(_: str | None) -> None:
    """The `ReportProblem` of those whose faults end them."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not decided, with the reason and, bounded and without values, what was wrong.

    `is_encoded_anew`: its bytes are not those of Kafka, and always kept.
    """

    record: Record
    reason: str
    detail: str
    is_encoded_anew: bool = False


@dataclass(slots=True)
class WaitingEvent:
    """An event in the outbox: Kafka's topic is `topic` behind the deployment's prefix.

    `trace`, where there is one, goes beside it as a header and is no part of it.
    """

    topic: str
    key: bytes
    event_id: str
    event_time: datetime
    payload: bytes
    trace: str | None = None


@dataclass(slots=True)
class ToStore:
    """All that one transaction writes; `is_traced`: rows of the outbox may have a trace.

    `left_out` says afterwards how many dead letters of each topic are kept without their bytes.
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
    """One transaction on the ledger; it commits when its context ends without an exception."""

    async def lock_offsets(self, expected: Mapping[TopicPartition, int]) -> None:
        """Holds the partitions' stored offsets; raises `OffsetsMoved` if one is not as expected."""

    async def lock_and_load(self, inputs: Sequence[Incoming | Wake | Command]) -> dict[str, Account]:
        """The accounts that the inputs name, locked, with what the inputs ask for; new ones are opened."""

    async def now(self) -> datetime:
        """The database's clock, the only one that counts."""

    async def take_expired(
        self, waiting_max: timedelta, numbers: Collection[int], partitions: int, limit: int
    ) -> list[Incoming]:
        """Takes out events parked for longer than `waiting_max`, of the partition `numbers` of `partitions`."""

    async def store(self, what: ToStore) -> None:
        """Writes sets, never row by row."""


class Transactions(Protocol):
    """Where transactions on the ledger are to be had. Raises the faults of `application.errors`."""

    def transaction(self) -> AbstractAsyncContextManager[LedgerTransaction]:
        """Opens a transaction on a connection of its own."""


class ReadSoFar(Protocol):
    """How far the events of accounts are read. Raises the faults of `application.errors`."""

    async def accounts_behind(self, account_ids: Collection[str], fresh: timedelta) -> dict[str, datetime]:
        """Of these accounts, those whose events are not read up to `fresh` ago, with the instant up to which they are.

        Not those of a partition number that nobody has read yet.
        """


class Ledger(Transactions, ReadSoFar, Protocol):
    """The ledger in the database. Its methods raise the faults of `application.errors`."""

    async def accounts_with_due_timers(
        self, passed_at: Mapping[int, datetime | None], partitions: int, limit: int
    ) -> list[tuple[str, datetime]]:
        """Accounts whose next timer is due, soonest first, with the instant up to which it may happen.

        `passed_at` names the partition numbers that are asked about, with the event time that all their topics have
        passed; None where they are read to their ends and the database's clock counts instead.
        """

    async def accounts_to_unpark(self, limit: int) -> list[str]:
        """Accounts that have a plan and still have events parked."""


class OffsetStore(Protocol):
    """Where the service goes on reading, kept beside the ledger. Raises the faults of `application.errors`."""

    @property
    def moved(self) -> int:
        """How often another server has answered than before: it may lack what was committed last."""

    async def load(self, partitions: Iterable[TopicPartition]) -> Positions:
        """The stored offsets; a partition that was never read has none."""

    async def open(self, positions: Mapping[TopicPartition, int]) -> None:
        """Stores where partitions that were never read begin; those that were are left as they are."""

    async def skip_gap(self, partition: TopicPartition, expected: int, resumed: int, log_end: int) -> bool:
        """Goes on at `resumed` because the log no longer has `expected`, or a person skips it, and records the gap.

        False if somebody has gone on from `expected` before.
        """

    async def skipped(self, topics: Collection[str]) -> Skipped:
        """What is recorded as skipped of these topics."""

    async def topic_ids(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, UUID]:
        """Kafka's ids of the topics that the stored offsets count in, where they are known."""

    async def adopt(self, topic_ids: Mapping[TopicPartition, UUID]) -> None:
        """Stores them for partitions of which they were not known."""

    async def begin_anew(
        self, partition: TopicPartition, expected: int, resumed: int, log_end: int, old_id: UUID, new_id: UUID
    ) -> None:
        """Goes on at `resumed` of a topic that was made anew, and records where reading was in the old one."""

    async def note_read(self, until: Mapping[int, datetime | None], partitions: int) -> datetime:
        """Notes up to which instants partition numbers, of so many, are read; None: to their ends, so up to now.

        Returns the database's clock.
        """

    async def paused_topics(self) -> set[str]:
        """The topics that all members leave alone until an operator lets them go on."""

    async def pause_topic(self, topic: str, reason: str) -> None:
        """Has all members leave the topic alone."""

    async def resume_topic(self, topic: str) -> bool:
        """Lets a paused topic go on; False if it was not paused."""


@dataclass(frozen=True, slots=True)
class WaitingDeadLetter:
    """A dead letter in the outbox; a key or value too large to be published is None, and has size and hash instead.

    Headers that are too large are none, and have size and hash of the form in which they are kept.
    """

    topic: str
    place: Place
    reason: str
    detail: str
    created_at: datetime
    key: bytes | None
    key_bytes: int | None
    key_sha256: str | None
    value: bytes | None
    value_bytes: int | None
    value_sha256: str | None
    headers: Headers
    headers_bytes: int | None = None
    headers_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The outbox rows that one Kafka transaction carries, under the id that the transaction carries as well."""

    claim_id: str
    rows: Sequence[WaitingEvent | WaitingDeadLetter]
    ids: Sequence[int]
    """The numbers of the rows, in the same order."""
    is_cut: bool = False
    """Whether there was more than it could take, though it has fewer rows than it might."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a claim leaves alone: all rows of topics, single rows by their numbers, and the events of keys."""

    topics: Collection[str] = ()
    ids: Collection[int] = ()
    keys: Collection[bytes] = ()


NOTHING_LEFT_OUT = LeftOut()


class OutboxSession(Protocol):
    """What the one leader may do; every statement runs on the connection that holds the leadership."""

    async def left_over(self) -> Claim | None:
        """The claim that a predecessor, or an earlier life, did not finish."""

    async def claim(self, rows_max: int, bytes_max: int, but: LeftOut = NOTHING_LEFT_OUT) -> Claim | None:
        """Claims the oldest rows, and commits that; None if nothing waits.

        Events of an account that has a row set aside are not claimed: they come to wait behind it.
        """

    async def set_aside(self, outbox_id: int, cause: str) -> None:
        """Takes a row that Kafka refuses out of the outbox, for a person to look at."""

    async def published(self, claim: Claim) -> None:
        """Deletes the claimed rows and the claim; nothing if another claim has taken its place."""

    async def not_published(self, claim: Claim) -> None:
        """Deletes the claim alone, so that its rows wait again; nothing if another claim has taken its place."""


class Outbox(Protocol):
    """What waits to be published. Raises the faults of `application.errors`."""

    def lead(self, rung: Callable[[], None]) -> AbstractAsyncContextManager[OutboxSession | None]:
        """Tries to become the one leader; None if another one is. `rung` is called when another process has news."""

    async def notify(self) -> None:
        """Tells the leader, in whatever process it is, that something waits."""

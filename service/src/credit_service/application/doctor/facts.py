"""The facts that the doctor checks, of the database and of Kafka, and the ports that read them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from credit_service.application.ports import Positions, TopicPartition


class Unreachable(Exception):  # noqa: N818 - reads as the condition that it reports
    """A server did not answer in time; the message has the cause, without values."""


class Denied(Unreachable):
    """A server denies this login, or denies it to read this."""

    def __init__(self, message: str, what_to_do: str) -> None:
        super().__init__(message)
        self.what_to_do = what_to_do


class ServerFacts(NamedTuple):
    """The database server, as the service's sessions have it."""

    version: str
    version_number: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    is_standby: bool


class BacklogFacts(NamedTuple):
    """The number of waiting things, counted up to a bound, and the age of the oldest; None: nothing waits."""

    things: int
    oldest_seconds: float | None


class SetAside(NamedTuple):
    """A row of the outbox that Kafka refuses, and the number of its account's events behind it."""

    outbox_id: int
    topic: str
    cause: str
    age_seconds: float
    waiting: int


class ParkedFacts(NamedTuple):
    """The events that wait for their account's first plan."""

    events: int
    accounts: int
    oldest_seconds: float | None


class BeingOpened(NamedTuple):
    """An account that `credits open` has begun to open, and whose rows are not complete."""

    account_id: str
    age_seconds: float


class Filling(NamedTuple):
    """An account that has used most of its numbers; `used` is the part of the scarcest ones.

    `accounts` is the number of such accounts, counted up to a bound.
    """

    account_id: str
    used: float
    accounts: int


class WaitingLetters(NamedTuple):
    """The waiting dead letters of one reason, and how many of them are kept without their bytes."""

    reason: str
    letters: int
    left_out: int = 0


class Unread(NamedTuple):
    """The offset from which a partition cannot be read, up to but without `until`, if known, and the cause."""

    offset: int
    until: int | None
    cause: str


class Gap(NamedTuple):
    """A recorded gap: offsets of a partition that were not read.

    `is_made_anew`: `expected_offset` is of a former topic of the same name.
    """

    topic: str
    partition: int
    expected_offset: int
    resumed_offset: int
    age_seconds: float
    is_made_anew: bool


class Missed(NamedTuple):
    """What Kafka lacks for a service with this login: rights, and transactions; None where nothing is missing."""

    rights: str | None = None
    transactions: str | None = None


class MemberFacts(NamedTuple):
    """A member of the service's group, with its number of partitions of the incoming topics."""

    client_id: str
    host: str
    partitions: int
    is_ours: bool


class OpenOperation(NamedTuple):
    """An operation that has begun and has no end."""

    operation_id: int
    kind: str
    operator: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic in the broker. `replicas` and `in_sync` are the fewest of any partition."""

    partitions: int
    replicas: int
    in_sync: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The number of brokers, and the existing topics by their names in the deployment."""

    brokers: int
    topics: Mapping[str, TopicFacts]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The first offset of a partition's log, and its end for read_committed consumers.

    `written` is the end with the records of open transactions.
    """

    first: int
    end: int
    written: int


class DatabaseFacts(Protocol):
    """Reads facts from the database; each method raises `Unreachable`."""

    async def server(self) -> ServerFacts:
        """Version and settings."""

    async def schema_problem(self) -> str | None:
        """The problem of the schema, in a sentence, or None."""

    async def now(self) -> datetime:
        """The ledger's clock."""

    async def stored(self, partitions: Collection[TopicPartition]) -> Positions:
        """The stored offsets."""

    async def topic_ids(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, UUID]:
        """Kafka's ids of the topics of the stored offsets, where they are known."""

    async def outbox(self) -> BacklogFacts:
        """The rows that wait to be published."""

    async def set_aside(self) -> Sequence[SetAside]:
        """Rows that Kafka refuses, oldest first; some of them, if there are many."""

    async def claim_seconds(self) -> float | None:
        """The age of the relay's claim; None if there is none."""

    async def parked(self) -> ParkedFacts:
        """Events that wait for a plan."""

    async def openings(self) -> Sequence[BeingOpened]:
        """Accounts that are being opened, the longest first; some of them, if there are many."""

    async def timers(self) -> BacklogFacts:
        """Accounts with a timer that is due."""

    async def filling(self) -> Sequence[Filling]:
        """The accounts that have used most of their numbers, the fullest first."""

    async def last_account_no(self) -> int:
        """The last account number in use."""

    async def letters(self) -> Sequence[WaitingLetters]:
        """Dead letters that wait, by reason."""

    async def refund_requests(self) -> BacklogFacts:
        """Refund requests that wait."""

    async def paused(self) -> Sequence[tuple[str, str]]:
        """Paused topics, with the reason."""

    async def gaps(self) -> Sequence[Gap]:
        """Recorded gaps, the latest first; some of them, if there are many."""

    async def open_operations(self) -> Sequence[OpenOperation]:
        """Operations without an end, the latest first; some of them, if there are many."""


class KafkaFacts(Protocol):
    """Reads facts from Kafka; each method raises `Unreachable`."""

    async def cluster(self) -> ClusterFacts:
        """Brokers and topics."""

    async def missed_by_service(self) -> Missed:
        """The rights and transactions that a service with this login would lack."""

    async def members(self) -> Sequence[MemberFacts]:
        """The members of the service's group."""

    async def topic_ids(self) -> Mapping[str, UUID]:
        """The ids of the incoming topics; none where the broker has no ids."""

    async def unreadable(self, positions: Positions) -> Mapping[TopicPartition, Unread]:
        """The partitions that cannot be read at these offsets, with the cause."""

    async def committed(self) -> Positions:
        """The offsets that the group has committed to Kafka."""

    async def bounds(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """The first and last offsets of the logs."""

"""What the doctor looks at: plain facts of the database and of Kafka, and the ports that bring them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from credit_service.application.ports import Positions, TopicPartition


class Unreachable(Exception):  # noqa: N818 - reads as the condition that it reports
    """A server did not answer, or not in time; what kept it is the message, without values."""


class Denied(Unreachable):
    """A server answers, and does not let this login in, or not see this."""

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


class Backlog(NamedTuple):
    """How many things wait, counted up to a bound, and for how many seconds the oldest has; None: nothing waits."""

    things: int
    oldest_seconds: float | None


class SetAside(NamedTuple):
    """A row of the outbox that Kafka refuses, and how many events of its account wait behind it."""

    outbox_id: int
    topic: str
    cause: str
    age_seconds: float
    waiting: int


class ParkedFacts(NamedTuple):
    """Events that wait for their account's first plan."""

    events: int
    accounts: int
    oldest_seconds: float | None


class BeingOpened(NamedTuple):
    """An account that `credits open` began to bring in so many seconds ago, and of which more is to come."""

    account_id: str
    age_seconds: float


class Filling(NamedTuple):
    """An account that has used most of its numbers: which part of those that it has least left of.

    `accounts` is how many such accounts there are, counted up to a bound.
    """

    account_id: str
    used: float
    accounts: int


class WaitingLetters(NamedTuple):
    """Dead letters with one reason that nobody has dealt with; so many of them are kept without their bytes."""

    reason: str
    letters: int
    left_out: int = 0


class Unread(NamedTuple):
    """From where on a partition cannot be read, up to but without where, if that is known, and why."""

    offset: int
    until: int | None
    cause: str


class Gap(NamedTuple):
    """Offsets of a partition that could not be read any more, recorded so many seconds ago.

    `is_made_anew`: the first was one of a topic that was there before, under the same name.
    """

    topic: str
    partition: int
    expected_offset: int
    resumed_offset: int
    age_seconds: float
    is_made_anew: bool


class Missed(NamedTuple):
    """What a service with this login would miss in Kafka: rights, and transactions; None where nothing is missed."""

    rights: str | None = None
    transactions: str | None = None


class MemberFacts(NamedTuple):
    """A member of the service's group, with how many partitions of the incoming topics it holds."""

    client_id: str
    host: str
    partitions: int
    is_ours: bool


class OpenOperation(NamedTuple):
    """What a person began so many seconds ago, and has no end."""

    operation_id: int
    kind: str
    operator: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the broker has it. `replicas` and `in_sync` are the fewest of any partition."""

    partitions: int
    replicas: int
    in_sync: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The brokers, and the topics by their names in the deployment; missing ones are not there."""

    brokers: int
    topics: Mapping[str, TopicFacts]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the log of a partition begins, and ends for those who read what is committed.

    `written` is where it ends with what open transactions have written.
    """

    first: int
    end: int
    written: int


class DatabaseFacts(Protocol):
    """Asks the database; each method raises `Unreachable`."""

    async def server(self) -> ServerFacts:
        """Version and settings."""

    async def schema_problem(self) -> str | None:
        """What is wrong with the schema, in a sentence, or None."""

    async def now(self) -> datetime:
        """The ledger's clock."""

    async def stored(self, partitions: Collection[TopicPartition]) -> Positions:
        """The stored offsets."""

    async def topic_ids(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, UUID]:
        """Kafka's ids of the topics that the stored offsets count in, where they are known."""

    async def outbox(self) -> Backlog:
        """What waits to be published."""

    async def set_aside(self) -> Sequence[SetAside]:
        """Rows that Kafka refuses, oldest first; some of them, if there are many."""

    async def claim_seconds(self) -> float | None:
        """How old the claim of the relay's transaction is; None if there is none."""

    async def parked(self) -> ParkedFacts:
        """Events that wait for a plan."""

    async def openings(self) -> Sequence[BeingOpened]:
        """Accounts that are being opened, the longest first; some of them, if there are many."""

    async def timers(self) -> Backlog:
        """Accounts with a timer that is due."""

    async def filling(self) -> Sequence[Filling]:
        """The accounts that have used most of their numbers, the fullest first."""

    async def last_account_no(self) -> int:
        """The last number that an account was given."""

    async def letters(self) -> Sequence[WaitingLetters]:
        """Dead letters that wait, by reason."""

    async def refund_requests(self) -> Backlog:
        """Refund requests that wait."""

    async def paused(self) -> Sequence[tuple[str, str]]:
        """Paused topics, with the reason."""

    async def gaps(self) -> Sequence[Gap]:
        """Recorded gaps, the latest first; some of them, if there are many."""

    async def open_operations(self) -> Sequence[OpenOperation]:
        """Operations without an end, the latest first; some of them, if there are many."""


class KafkaFacts(Protocol):
    """Asks Kafka; each method raises `Unreachable`."""

    async def cluster(self) -> ClusterFacts:
        """Brokers and topics."""

    async def missed_by_service(self) -> Missed:
        """What a service with this login would not be allowed, or not find."""

    async def members(self) -> Sequence[MemberFacts]:
        """The members of the service's group."""

    async def topic_ids(self) -> Mapping[str, UUID]:
        """The ids of the incoming topics; none of a broker that knows none."""

    async def unreadable(self, positions: Positions) -> Mapping[TopicPartition, Unread]:
        """Of these partitions, at these offsets: where one cannot be read, and why."""

    async def committed(self) -> Positions:
        """What the group has committed to Kafka."""

    async def bounds(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Where the logs begin and end."""

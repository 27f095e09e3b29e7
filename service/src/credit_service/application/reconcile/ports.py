"""The ports of a reconciliation: one snapshot of the ledger, and the topics."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from credit_service.application.ports import TopicPartition
from credit_service.application.processing.known_events import Lookup
from credit_service.application.record import Record
from credit_service.domain.account import Account
from credit_service.domain.audit.history import History, RecordedAccount
from credit_service.domain.event import Place


@dataclass(frozen=True, slots=True)
class AuditedAccount:
    """An account with its number in the tables and its row."""

    number: int
    account_id: str
    row: RecordedAccount


@dataclass(frozen=True, slots=True)
class Pending:
    """An account's first events in the outbox: a sequence, and a decline's position; None: none waits."""

    sequence: int | None = None
    decline: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The compared offsets of one partition, from `first` up to but without `end`.

    `lost_to_retention` counts the wanted offsets before them. Decisions up to `anew_at` are of messages of a former
    topic of the same name.
    """

    partition: TopicPartition
    first: int
    end: int
    lost_to_retention: int = 0
    anew_at: datetime | None = None

    def holds(self, offset: int, decided_at: datetime) -> bool:
        """Whether the offset of a message that was decided then is within."""
        return self.first <= offset < self.end and (self.anew_at is None or decided_at > self.anew_at)


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """An outgoing event in its topic."""

    place: Place
    event_id: str | None
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


class Audit(Protocol):
    """One snapshot of the ledger, from its first query on. Raises the faults of `application.errors`."""

    @property
    def lookup(self) -> Lookup:
        """The lookup of known messages, in the same snapshot."""

    def accounts(self, number: int, partitions: int, account_id: str | None) -> AsyncGenerator[list[AuditedAccount]]:
        """The accounts of the partition number, of so many partitions, some at a time."""

    async def histories(self, accounts: Sequence[AuditedAccount]) -> list[History]:
        """The recorded histories of these accounts."""

    async def differing_prospects(self, made: Mapping[int, Account]) -> list[tuple[str, str, str]]:
        """Account, prospect and difference, where rows differ from `made`, which is by the accounts' numbers."""

    async def touched(
        self, spans: Sequence[Span], start: datetime | None, end: datetime | None
    ) -> Collection[int] | None:
        """The numbers of accounts with decisions on messages of `spans`, or without a message between the instants."""

    async def pending(self) -> dict[str, Pending]:
        """The first events in the outbox, by account."""

    def waiting_letters(self, spans: Sequence[Span]) -> AsyncGenerator[tuple[int, Place, str, str | None]]:
        """The waiting dead letters of `spans`: number, place, reason, account."""

    def shared_keys(self) -> AsyncGenerator[tuple[str, str, list[str]]]:
        """Source and id of events that were decided for several accounts, with some of these."""

    async def dropped_events(self) -> dict[str, str]:
        """The ids of events that operators have dropped from the outbox, each with operator, time and reason."""

    async def made_anew(self) -> Mapping[TopicPartition, datetime]:
        """The times at which partitions were last found to be of a topic that was created anew."""

    async def repaired_events(self) -> set[str]:
        """The ids of events that a repair has published: they may follow later ones."""


class Topics(Protocol):
    """The topics in Kafka. Raises the broker's faults, and `RangeStalled` of its own."""

    @property
    def partitions(self) -> int:
        """The partition count of each incoming topic."""

    def spans(self, number: int) -> Sequence[Span]:
        """The spans of the incoming topics of this partition number."""

    def incoming(self, number: int) -> AsyncGenerator[list[Record]]:
        """The records of these spans, some of one partition at a time, each partition in its order."""

    async def published_spans(self, number: int) -> Sequence[Span]:
        """The spans of the published topics of this partition number, at the time of the first call."""

    def published(self, number: int) -> AsyncGenerator[list[PublishedRecord]]:
        """The published changes and declines, as a read_committed consumer sees them."""

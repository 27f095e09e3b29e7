"""What a reconciliation asks of its surroundings: one snapshot of the ledger, and the topics as they lie there."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from credit_service.application.ports import TopicPartition
from credit_service.application.processing.known_events import Lookup
from credit_service.application.record import Record
from credit_service.domain.account import Account
from credit_service.domain.audit.recompute import AccountRow, History
from credit_service.domain.event import Place


@dataclass(frozen=True, slots=True)
class AuditedAccount:
    """An account by its number in the tables, with its row."""

    number: int
    account_id: str
    row: AccountRow


@dataclass(frozen=True, slots=True)
class Pending:
    """The first of an account's events that wait in the outbox: a sequence, a decline's position; None: none waits."""

    sequence: int | None = None
    decline: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """What is compared of one partition: offsets from `first` up to but without `end`; before it, `eaten` are gone.

    What was decided up to `anew_at` lay in a topic that was there before, under the same name.
    """

    partition: TopicPartition
    first: int
    end: int
    eaten: int = 0
    anew_at: datetime | None = None

    def holds(self, offset: int, decided_at: datetime) -> bool:
        """Whether the offset lies in it, of a message that was decided then."""
        return self.first <= offset < self.end and (self.anew_at is None or decided_at > self.anew_at)


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """An outgoing event as it lies in its topic."""

    place: Place
    event_id: str | None
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


class Audit(Protocol):
    """One snapshot of the ledger, from its first question on. Raises the faults of `application.errors`."""

    @property
    def lookup(self) -> Lookup:
        """What is known of messages, in the same snapshot."""

    def accounts(self, number: int, partitions: int, account_id: str | None) -> AsyncGenerator[list[AuditedAccount]]:
        """The accounts whose partition number it is, of so many partitions, some at a time."""

    async def histories(self, accounts: Sequence[AuditedAccount]) -> list[History]:
        """All that is recorded of these accounts."""

    async def differing_prospects(self, made: Mapping[int, Account]) -> list[tuple[str, str, str]]:
        """Account, prospect, and what differs, where rows are not as `made` has it; by the accounts' numbers."""

    async def touched(
        self, spans: Sequence[Span], start: datetime | None, end: datetime | None
    ) -> Collection[int] | None:
        """The numbers of accounts that decided something from `spans`, or of itself between the instants."""

    async def pending(self) -> dict[str, Pending]:
        """What waits in the outbox, by account."""

    def waiting_letters(self, spans: Sequence[Span]) -> AsyncGenerator[tuple[int, Place, str, str | None]]:
        """Dead letters that wait and came from `spans`: number, place, reason, account."""

    def shared_keys(self) -> AsyncGenerator[tuple[str, str, list[str]]]:
        """Source and id of events that were decided for several accounts, and some of these."""

    async def dropped_events(self) -> dict[str, str]:
        """The ids of events that people have dropped from the outbox, with who, when and why, in a sentence."""

    async def made_anew(self) -> Mapping[TopicPartition, datetime]:
        """When partitions were last found to be of a topic that was made anew."""

    async def repaired_events(self) -> set[str]:
        """The ids of events that a repair has published: they may stand behind later ones."""


class Topics(Protocol):
    """The topics as they lie there. Raises the broker's faults, and `RangeStalled` of its own."""

    @property
    def partitions(self) -> int:
        """How many partitions the incoming topics have."""

    def spans(self, number: int) -> Sequence[Span]:
        """What is compared of the incoming topics, of this partition number."""

    def incoming(self, number: int) -> AsyncGenerator[list[Record]]:
        """The records of these spans, some of one partition at a time, each partition in its order."""

    async def published_spans(self, number: int) -> Sequence[Span]:
        """What there is of the published topics, of this partition number, when it was first asked for."""

    def published(self, number: int) -> AsyncGenerator[list[PublishedRecord]]:
        """Changes and declines, as a read_committed consumer sees them."""

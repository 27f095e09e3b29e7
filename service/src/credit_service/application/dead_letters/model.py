"""Dead letters: their records, states and answers, and the ports of their store."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from credit_contracts.times import Instant
from credit_service import bounds
from credit_service.application.dead_letters.left_out import LeftOut
from credit_service.application.operations import Json
from credit_service.application.ports import LedgerTransaction
from credit_service.application.queries import JsonAnswer, ReadPlace
from credit_service.application.record import Record
from credit_service.domain.event import Place

TAKEN_APART = "taken-apart"
"""The outcome of a batch whose records have outcomes of their own."""

LetterStatus = Literal["waiting", "resolved", "discarded"]

Became = Literal[
    "resolved", "discarded", "erased", "failed", "resolved-before", "discarded-before", "erased-before", "unknown"
]
"""The result of a call for a letter: its effect, `failed` if the letter waits on, or the effect of an earlier call."""


class LetterAnswer(JsonAnswer):
    """The result for one letter; `outcome` is that of its decision, `reason` and `detail` are why it waits on."""

    dead_letter_id: int
    became: Became
    outcome: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Letters:
    """Selects letters: those of `ids`, or all waiting ones of a topic (as the contracts name it) or a reason."""

    ids: Sequence[int] | None = None
    topic: str | None = None
    reason: str | None = None

    @property
    def arguments(self) -> dict[str, Json]:
        """The selection for the record of operations."""
        return {"topic": self.topic, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class LetterRecord:
    """A letter with its record, decoded again; the record of one without bytes is unreadable here."""

    dead_letter_id: int
    record: Record
    is_erased: bool
    left_out: LeftOut | None = None


@dataclass(frozen=True, slots=True)
class LetterState:
    """The state of a letter."""

    status: LetterStatus
    outcome: str | None
    is_erased: bool


class LetterTransaction(LedgerTransaction, Protocol):
    """A transaction on the ledger that ends dead letters as well."""

    async def lock_letters(self, ids: Sequence[int]) -> list[LetterRecord]:
        """Locks and returns those of `ids` that wait, once other transactions have released them."""

    async def resolve_letters(self, outcomes: Sequence[tuple[int, str]], operator: str, comment: str) -> None:
        """Ends locked letters, each with its outcome."""

    async def fail_letters(self, failures: Sequence[tuple[int, str, str]]) -> None:
        """Notes reason and detail of a failed retry on locked letters."""


class LetterStore(Protocol):
    """Dead letters in the database. Raises the faults of `application.errors`."""

    def transaction(self, *, keep: bool = True) -> AbstractAsyncContextManager[LetterTransaction]:
        """Opens a transaction on a connection of its own; without `keep` it is rolled back at its end."""

    def waiting(self, which: Letters, up_to: int) -> AsyncGenerator[list[LetterRecord]]:
        """The waiting letters of `which`, in no order, up to the number `up_to`; some at a time."""

    async def last_id(self) -> int:
        """The highest number so far; 0 if there is none."""

    async def states(self, ids: Sequence[int]) -> dict[int, LetterState]:
        """The states of letters; numbers that do not exist are left out."""

    async def waiting_ids(self, which: Letters, after: int, up_to: int, limit: int) -> list[int]:
        """The first numbers of waiting letters of `which`, above `after` and up to `up_to`."""

    async def discard(self, ids: Sequence[int], operator: str, comment: str) -> list[int]:
        """Ends those of `ids` that wait, without a decision; returns their numbers."""

    async def erase(self, ids: Sequence[int], operator: str) -> list[int]:
        """Erases key, value and headers of those of `ids` that have them; returns their numbers."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A record of a batch that is too large to be read, with its size."""

    place: Place
    size_bytes: int


class CannotTakeApart(Exception):  # noqa: N818 - reads as the condition that it reports
    """The records of a batch cannot be read; the message has the reason."""


class TakesApart(Protocol):
    """Unpacks a batch that was kept whole."""

    def __call__(self, kept: Record) -> AbstractAsyncContextManager[Iterator[Record | PassedOver]]:
        """The records from the letter's place on, one after the other; both raise `CannotTakeApart`."""


def portions_of(records: Iterator[Record | PassedOver]) -> Iterator[list[Record | PassedOver]]:
    """The records in portions that one transaction decides."""
    portion: list[Record | PassedOver] = []
    size_bytes = 0
    for record in records:
        portion.append(record)
        size_bytes += record.size_bytes if isinstance(record, Record) else 0
        if len(portion) >= bounds.PROCESSED_AT_ONCE or size_bytes >= bounds.LETTER_BATCH_BYTES_MAX:
            yield portion
            portion, size_bytes = [], 0
    yield portion


class LetterGroup(JsonAnswer):
    """The letters of a topic with the same reason and status: their number and ages, in whole seconds."""

    topic: str
    reason: str
    status: LetterStatus
    letters: int
    oldest_at: Instant
    newest_at: Instant
    oldest_seconds: int
    newest_seconds: int


class LetterLine(JsonAnswer):
    """One letter without its record."""

    dead_letter_id: int
    place: ReadPlace
    account_id: str | None
    reason: str
    detail: str
    status: LetterStatus
    outcome: str | None
    retries: int
    erased: bool
    left_out: bool
    created_at: Instant
    age_seconds: int


class Bytes(JsonAnswer):
    """Bytes of a record: as text where they are printable UTF-8, else in hexadecimal."""

    encoding: Literal["text", "hex"]
    data: str


class LetterHeader(JsonAnswer):
    """One header of the record."""

    name: str
    value: Bytes | None


class ShownLetter(JsonAnswer):
    """One letter with all details. `kafka_at` is Kafka's own time of the record, None where that is no time.

    Where `is_left_out`, neither value nor headers are kept, and a key only if it is short: sizes and hashes are.
    """

    dead_letter_id: int
    place: ReadPlace
    account_id: str | None
    reason: str
    detail: str
    created_at: Instant
    kafka_at: Instant | None
    status: LetterStatus
    outcome: str | None
    ended_at: Instant | None
    operator: str | None
    comment: str | None
    retries: int
    retried_at: Instant | None
    retry_reason: str | None
    retry_detail: str | None
    erased_at: Instant | None
    erased_by: str | None
    key: Bytes | None
    value: Bytes | None
    headers: list[LetterHeader]
    is_left_out: bool
    key_bytes: int | None
    value_bytes: int | None
    value_sha256: str | None
    content_sha256: str | None


def bytes_shown(raw: bytes | None) -> Bytes | None:
    """Text if it can be read as such: UTF-8, and of control characters no more than line ends and tabs."""
    if raw is None:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return Bytes(encoding="hex", data=raw.hex())
    if all(character.isprintable() or character in "\n\r\t" for character in text):
        return Bytes(encoding="text", data=text)
    return Bytes(encoding="hex", data=raw.hex())


class LetterReads(Protocol):
    """Reads dead letters. Raises `LedgerUnavailable`."""

    async def groups(self, which: Letters, *, waiting_only: bool) -> list[LetterGroup]:
        """The letters grouped by topic, reason and status, the topics in order."""

    def lines(self, which: Letters, *, waiting_only: bool, limit: int) -> AsyncGenerator[list[LetterLine]]:
        """The oldest `limit` letters, some at a time."""

    async def letter(self, dead_letter_id: int) -> ShownLetter | None:
        """One letter with all details; None if there is none of that number."""

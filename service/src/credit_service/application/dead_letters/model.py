"""Dead letters: what is known of them, what becomes of them, and the ports to where they are kept."""

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
"""The outcome of a batch: its records have theirs."""

LetterStatus = Literal["waiting", "resolved", "discarded"]

Became = Literal[
    "resolved", "discarded", "erased", "failed", "resolved-before", "discarded-before", "erased-before", "unknown"
]
"""What became of a letter: what this call did, `failed` if a retry has to wait on, or what it found done before."""


class LetterAnswer(JsonAnswer):
    """What became of one letter; `outcome` is that of its decision, `reason` and `detail` why it waits on."""

    dead_letter_id: int
    became: Became
    outcome: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Letters:
    """Which letters are meant: those of `ids`, or all that wait, of a topic (as the contracts name it) or a reason."""

    ids: Sequence[int] | None = None
    topic: str | None = None
    reason: str | None = None

    @property
    def arguments(self) -> dict[str, Json]:
        """For the record of operations."""
        return {"topic": self.topic, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class LetterRecord:
    """A letter with its record, read anew; one that was kept without its bytes is unreadable as it stands here."""

    dead_letter_id: int
    record: Record
    is_erased: bool
    left_out: LeftOut | None = None


@dataclass(frozen=True, slots=True)
class LetterState:
    """How far a letter has come."""

    status: LetterStatus
    outcome: str | None
    is_erased: bool


class LetterTransaction(LedgerTransaction, Protocol):
    """A transaction on the ledger that ends dead letters as well."""

    async def lock_letters(self, ids: Sequence[int]) -> list[LetterRecord]:
        """Those of `ids` that wait, held to the end; whoever else holds one is waited for first."""

    async def resolve_letters(self, outcomes: Sequence[tuple[int, str]], operator: str, comment: str) -> None:
        """Ends letters that were locked, each with its outcome."""

    async def fail_letters(self, failures: Sequence[tuple[int, str, str]]) -> None:
        """Notes of letters that were locked that a retry failed: reason and detail."""


class LetterStore(Protocol):
    """Dead letters in the database. Raises the faults of `application.errors`."""

    def transaction(self, *, keep: bool = True) -> AbstractAsyncContextManager[LetterTransaction]:
        """Opens a transaction on a connection of its own."""

    def waiting(self, which: Letters, up_to: int) -> AsyncGenerator[list[LetterRecord]]:
        """What waits of `which`, in no order, up to the number `up_to`; some at a time."""

    async def last_id(self) -> int:
        """The highest number so far; 0 if there is none."""

    async def states(self, ids: Sequence[int]) -> dict[int, LetterState]:
        """How far the letters have come; what does not exist is left out."""

    async def waiting_ids(self, which: Letters, after: int, up_to: int, limit: int) -> list[int]:
        """The first numbers of what waits of `which`, above `after` and up to `up_to`."""

    async def discard(self, ids: Sequence[int], operator: str, comment: str) -> list[int]:
        """Ends those of `ids` that wait, without a decision; their numbers."""

    async def erase(self, ids: Sequence[int], operator: str) -> list[int]:
        """Takes key, value and headers out of those of `ids` that have them; their numbers."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A record of a batch that is too large to be read, and how large it is."""

    place: Place
    size_bytes: int


class CannotTakeApart(Exception):  # noqa: N818 - reads as the condition that it reports
    """The records of a batch cannot be had; why is the message."""


class TakesApart(Protocol):
    """Unpacks a batch that was kept whole."""

    def __call__(self, kept: Record) -> AbstractAsyncContextManager[Iterator[Record | PassedOver]]:
        """Its records from the letter's place on, one after the other; both raise `CannotTakeApart`."""


def portions_of(records: Iterator[Record | PassedOver]) -> Iterator[list[Record | PassedOver]]:
    """So many at a time as one transaction decides."""
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
    """How many letters of a topic have the same reason and status, and since when; ages in whole seconds."""

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
    """One letter whole. `kafka_at` is Kafka's own time of the record, None where that is no time.

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
    """Dead letters to those who only look. Raises `LedgerUnavailable`."""

    async def groups(self, which: Letters, *, waiting_only: bool) -> list[LetterGroup]:
        """By topic, reason and status, the topics in order."""

    def lines(self, which: Letters, *, waiting_only: bool, limit: int) -> AsyncGenerator[list[LetterLine]]:
        """The oldest `limit` letters, some at a time."""

    async def letter(self, dead_letter_id: int) -> ShownLetter | None:
        """One whole; None if there is none of that number."""

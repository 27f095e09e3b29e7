"""The port of the outbox: the rows that wait to be published, and the one leader that publishes them."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from credit_service.application.kept_record import Headers
from credit_service.domain.event import Place


@dataclass(slots=True)
class WaitingEvent:
    """An event in the outbox; `topic` is without the deployment's prefix.

    `trace`, where there is one, is sent as a header and is no part of the event.
    """

    topic: str
    key: bytes
    event_id: str
    event_time: datetime
    payload: bytes
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class WaitingDeadLetter:
    """A dead letter in the outbox; a key or value too large to be published is None, and has size and hash instead.

    Headers that are too large are left out, with size and hash of their kept form.
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
    """The outbox rows of one Kafka transaction, under the id that the transaction contains as well."""

    claim_id: str
    rows: Sequence[WaitingEvent | WaitingDeadLetter]
    ids: Sequence[int]
    """The numbers of the rows, in the same order."""
    is_cut: bool = False
    """Whether rows were left behind for their size, though the claim has fewer rows than it may."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """The rows that a claim leaves out: all rows of topics, single rows by their numbers, the events of keys."""

    topics: Collection[str] = ()
    ids: Collection[int] = ()
    keys: Collection[bytes] = ()


NOTHING_EXCLUDED = Excluded()


class OutboxSession(Protocol):
    """The session of the one leader; every statement runs on the connection that holds the leadership."""

    async def left_over(self) -> Claim | None:
        """The claim that a former leader, or this process before a restart, did not finish."""

    async def claim(self, rows_max: int, bytes_max: int, but: Excluded = NOTHING_EXCLUDED) -> Claim | None:
        """Claims the oldest rows, and commits the claim; None if no row waits.

        Events of an account that has a row set aside are not claimed: they wait behind it.
        """

    async def set_aside(self, outbox_id: int, cause: str) -> None:
        """Moves a row that Kafka refuses out of the outbox, until an operator decides about it."""

    async def published(self, claim: Claim) -> None:
        """Deletes the claimed rows and the claim; does nothing if there is another claim by now."""

    async def not_published(self, claim: Claim) -> None:
        """Deletes the claim alone, so that its rows wait again; does nothing if there is another claim by now."""


class Outbox(Protocol):
    """The outbox of events and dead letters. Raises the faults of `application.errors`."""

    def lead(self, rung: Callable[[], None]) -> AbstractAsyncContextManager[OutboxSession | None]:
        """Tries to become the one leader; None if there is one. `rung` is called when another process adds rows."""

    async def notify(self) -> None:
        """Notifies the leader, in whatever process it is, that rows wait."""

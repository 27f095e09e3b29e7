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
    """An event in the outbox: Kafka's topic is `topic` behind the deployment's prefix.

    `trace`, where there is one, goes beside it as a header and is no part of it.
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
class Excluded:
    """What a claim leaves alone: all rows of topics, single rows by their numbers, and the events of keys."""

    topics: Collection[str] = ()
    ids: Collection[int] = ()
    keys: Collection[bytes] = ()


NOTHING_EXCLUDED = Excluded()


class OutboxSession(Protocol):
    """What the one leader may do; every statement runs on the connection that holds the leadership."""

    async def left_over(self) -> Claim | None:
        """The claim that a predecessor, or an earlier life, did not finish."""

    async def claim(self, rows_max: int, bytes_max: int, but: Excluded = NOTHING_EXCLUDED) -> Claim | None:
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

    async def ring(self) -> None:
        """Tells the leader, in whatever process it is, that something waits."""

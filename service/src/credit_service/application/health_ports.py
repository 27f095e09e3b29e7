"""The ports through which the service checks its own progress."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the ledger, each counted up to `bounds.COUNTED_MAX`, so that counting never takes long."""

    outbox_events: int
    outbox_oldest_seconds: float
    parked_events: int
    dead_letters: int
    refund_requests: int
    offset_gaps: int
    paused_topics: int
    timers_late: int
    accounts_filling: int = 0
    last_account_no: int = 0
    set_aside: int = 0
    waiting_behind: int = 0
    first_set_aside: str | None = None


class LedgerProbe(Protocol):
    """Reads the state of the database on a connection of its own. Raises `LedgerUnavailable`."""

    async def backlog(self) -> Backlog:
        """What waits in the ledger."""

    async def schema_problem(self) -> str | None:
        """The problem of the schema, in a sentence; None if there is none."""


class ReadsProbe(Protocol):
    """Checks the connections of readers. Raises `LedgerUnavailable`."""

    async def ping(self) -> None:
        """Returns if the database answers there."""


@dataclass(frozen=True, slots=True)
class LaneProgress:
    """Whether messages wait for a lane, and when, on the monotonic clock, it last decided some."""

    waits: bool
    decided_at: float


class IntakeProbe(Protocol):
    """Reads the progress of the intake."""

    async def measure_lag(self) -> None:
        """Measures how far the ledger is behind Kafka; takes a bounded time, and raises nothing."""

    def lanes(self) -> Mapping[str, LaneProgress]:
        """Each lane by its name."""

    async def excuse(self) -> str | None:
        """The fault of Kafka that stops progress, if there is one."""

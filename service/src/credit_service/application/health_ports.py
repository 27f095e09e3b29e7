"""What the service asks its own parts, to see whether it comes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the ledger holds that waits, each counted up to `bounds.COUNTED_MAX`, so that looking never takes long."""

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
    """What is asked of the database, on a connection of its own. Raises `LedgerUnavailable`."""

    async def backlog(self) -> Backlog:
        """What waits."""

    async def schema_problem(self) -> str | None:
        """What is wrong with the schema, in a sentence."""


class ReadsProbe(Protocol):
    """What is asked of the way to the database that readers go. Raises `LedgerUnavailable`."""

    async def ping(self) -> None:
        """Returns if the database answers there."""


@dataclass(frozen=True, slots=True)
class LaneProgress:
    """Whether messages wait for a lane, and when, on the monotonic clock, it last decided some."""

    waits: bool
    decided_at: float


class IntakeProbe(Protocol):
    """What is asked of the intake."""

    async def measure_lag(self) -> None:
        """Finds out how far the ledger is behind Kafka; bounded, and raises nothing."""

    def lanes(self) -> Mapping[str, LaneProgress]:
        """Each lane by its name."""

    async def excuse(self) -> str | None:
        """What is missing on Kafka's side, if that is why nothing comes on."""

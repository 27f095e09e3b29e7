"""What the ledger holds that waits: for the relay, for a plan, for a person."""

from dataclasses import dataclass

COUNTED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """Each counted up to `COUNTED_MAX`, so that looking never takes long."""

    outbox_events: int
    outbox_oldest_seconds: float
    parked_events: int
    dead_letters: int
    refund_requests: int
    offset_gaps: int
    paused_topics: int

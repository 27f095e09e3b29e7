"""Lanes: two batches are processed at a time, so that one is computed while the other waits for the ledger.

A partition number belongs to one lane, and an account to one number: lanes lock different accounts. A message in
another partition than its account's may let two lanes lock one account: one then waits for the other, as members do.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.ports import TopicPartition
from credit_service.application.processing.arrival import LedgerClock
from credit_service.application.processing.merge import Merge
from credit_service.application.processing.timer_sweep import TimerSweep

if TYPE_CHECKING:
    from credit_service.application.record import Record

BLOCKED_WAIT_SECONDS = 0.01
IDLE_WAIT_SECONDS = 0.5


class Lane:
    """The buffers and the timers of some partition numbers; `in_hand` is held while a batch of theirs is decided.

    `taken` is that batch; `decided_at` is when, on the monotonic clock, the last one was decided. `moved` is how often
    the ledger had moved to another server when the stored offsets were last read.
    """

    def __init__(self, name: str, timers: TimerSweep, bytes_max: int, clock: LedgerClock) -> None:
        self.name = name
        self.merge = Merge(bytes_max, clock)
        self.timers = timers
        self.in_hand = asyncio.Lock()
        self.taken: Sequence[Record] = ()
        self.decided_at = time.monotonic()
        self.next_pauses = self.next_noted = self.next_stored = 0.0
        self.moved = 0
        self._arrived = asyncio.Event()

    def notify(self) -> None:
        """Wakes the lane: there may be work."""
        self._arrived.set()

    def note_decided(self) -> None:
        """Notes that a part of the current batch, or all of it, is decided."""
        self.decided_at = time.monotonic()

    def oldest_ms(self) -> dict[TopicPartition, int]:
        """Kafka's timestamp of each partition's first record that is not decided yet."""
        oldest: dict[TopicPartition, int] = {}
        for record in self.taken:
            oldest.setdefault(record.place[:2], record.timestamp_ms)
        for partition, record in self.merge.heads().items():
            oldest.setdefault(partition, record.timestamp_ms)
        return oldest

    async def wait_for_work(self) -> None:
        """Waits for records, for a short time only: timers become due, and held-back partitions are released."""
        self._arrived.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BLOCKED_WAIT_SECONDS if self.merge.buffered else IDLE_WAIT_SECONDS):
                await self._arrived.wait()


class Lanes:
    """All lanes of a member."""

    def __init__(self, timers: Callable[[], TimerSweep], clock: LedgerClock) -> None:
        self.clock = clock
        share = bounds.BUFFERED_BYTES_MAX // bounds.LANES
        self._lanes = [Lane(f"lane {n}", timers(), share, clock) for n in range(bounds.LANES)]

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    def of(self, partition: TopicPartition) -> Lane:
        """The lane that the partition belongs to, by its number alone."""
        return self._lanes[partition[1] % len(self._lanes)]

    def notify(self, partitions: Iterable[TopicPartition]) -> None:
        """Wakes the lanes of these partitions."""
        for lane in {self.of(partition) for partition in partitions}:
            lane.notify()

    @contextlib.asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Waits until the current batches are decided; no other begins meanwhile."""
        async with contextlib.AsyncExitStack() as held:
            for lane in self._lanes:
                await held.enter_async_context(lane.in_hand)
            yield

    @property
    def buffered(self) -> int:
        """How many records wait."""
        return sum(lane.merge.buffered for lane in self._lanes)

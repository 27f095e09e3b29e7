"""Kafka's own offsets of the group: committed after the ledger's, for those who watch the lag."""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from credit_service.application import ports
from credit_service.application.ports import Positions

log = structlog.get_logger(__name__)

COMMIT_EVERY_SECONDS = 1.0
COMMIT_SECONDS_MAX = 5.0
COMMIT_AGAIN_SECONDS = 5.0


class GroupOffsets:
    """Commits what `positions`, which is the ledger's, has come to; nobody who decides waits for that."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._moved: set[ports.TopicPartition] = set()
        self._news = asyncio.Event()
        # Of two commits under way the older one could arrive last, and stay.
        self._one_at_a_time = asyncio.Lock()
        self._failing_since: float | None = None

    @property
    def failing_seconds(self) -> float:
        """For how long none could be committed; 0 after one that could, and when none is due."""
        return time.monotonic() - self._failing_since if self._failing_since is not None else 0.0

    def begin_anew(self) -> None:
        """Forgets what is to be committed, and that it could not be."""
        self._moved.clear()
        self._failing_since = None

    def note_moved(self, partitions: Iterable[ports.TopicPartition]) -> None:
        """Says that the ledger's offsets of these have moved."""
        self._moved.update(partitions)
        self._news.set()

    def forget(self, partition: ports.TopicPartition) -> None:
        """Leaves the partition to its next owner."""
        self._moved.discard(partition)

    async def keep_up(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        """Commits what has moved, not too often; tries again what failed. Ends only when it is cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            member = consumer()
            is_done = member is None or await self.commit(member)
            await asyncio.sleep(COMMIT_EVERY_SECONDS if is_done else COMMIT_AGAIN_SECONDS)

    async def commit(self, consumer: AIOKafkaConsumer) -> bool:
        """Commits what has moved; False if it is to be tried again."""
        async with self._one_at_a_time:
            offsets = {TopicPartition(*p): self._positions[p] for p in self._moved if p in self._positions}
            self._moved.clear()
            if not offsets:
                self._failing_since = None
                return True
            is_done, began = False, time.monotonic()
            try:
                async with asyncio.timeout(COMMIT_SECONDS_MAX):
                    await consumer.commit(offsets)
                is_done = True
                self._failing_since = None
            except (KafkaError, TimeoutError) as error:
                log.info("Kafka's offsets not committed, the ledger's count", cause=type(error).__name__)
                self._failing_since = self._failing_since or began
            finally:
                if not is_done:
                    # With no further message to mend it, lag monitors would show a lag for ever that is not there.
                    self.note_moved(offsets)
            return is_done

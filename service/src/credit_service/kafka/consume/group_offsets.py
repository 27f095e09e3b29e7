"""Kafka's own offsets of the group: committed after the ledger's, for lag monitors."""

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
    """Commits `positions`, the ledger's offsets, to Kafka; no batch waits for that."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._moved: set[ports.TopicPartition] = set()
        self._has_moved = asyncio.Event()
        # Of two concurrent commits the older one could arrive last, and stay.
        self._one_at_a_time = asyncio.Lock()
        self._failing_since: float | None = None

    @property
    def failing_seconds(self) -> float:
        """For how long commits have failed; 0 after one that succeeded, and when none is due."""
        return time.monotonic() - self._failing_since if self._failing_since is not None else 0.0

    def begin_anew(self) -> None:
        """Forgets the offsets that are to be committed, and that commits have failed."""
        self._moved.clear()
        self._failing_since = None

    def note_moved(self, partitions: Iterable[ports.TopicPartition]) -> None:
        """Notes that the ledger's offsets of these have moved."""
        self._moved.update(partitions)
        self._has_moved.set()

    def forget(self, partition: ports.TopicPartition) -> None:
        """Does not commit the partition any more: its next owner does."""
        self._moved.discard(partition)

    async def keep_up(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        """Commits offsets that have moved, once a second at most; retries commits that failed. Ends when cancelled."""
        while True:
            await self._has_moved.wait()
            self._has_moved.clear()
            member = consumer()
            is_done = member is None or await self.commit(member)
            await asyncio.sleep(COMMIT_EVERY_SECONDS if is_done else COMMIT_AGAIN_SECONDS)

    async def commit(self, consumer: AIOKafkaConsumer) -> bool:
        """Commits the offsets that have moved; False if that has to be retried."""
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
                log.info("Kafka's offsets were not committed, the ledger's are valid", cause=type(error).__name__)
                self._failing_since = self._failing_since or began
            finally:
                if not is_done:
                    # Without a further message, lag monitors would show a lag for ever that does not exist.
                    self.note_moved(offsets)
            return is_done

"""Kafka's own offsets of the group: committed after the ledger's, for those who watch the lag."""

import asyncio
import time
from collections.abc import Iterable

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
    """Commits what `positions`, which is the ledger's, has come to."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._moved: set[ports.TopicPartition] = set()
        self._next_commit = 0.0

    def note_moved(self, partitions: Iterable[ports.TopicPartition]) -> None:
        """Says that the ledger's offsets of these have moved."""
        self._moved.update(partitions)

    def forget(self, partition: ports.TopicPartition) -> None:
        """Leaves the partition to its next owner."""
        self._moved.discard(partition)

    async def commit(self, consumer: AIOKafkaConsumer, *, at_once: bool = False) -> None:
        """Commits what has moved, not too often unless `at_once`; a failure is tried again later."""
        now = time.monotonic()
        if not self._moved or (now < self._next_commit and not at_once):
            return
        self._next_commit = now + COMMIT_EVERY_SECONDS
        offsets = {TopicPartition(*p): self._positions[p] for p in self._moved if p in self._positions}
        self._moved = set()
        try:
            async with asyncio.timeout(COMMIT_SECONDS_MAX):
                await consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            log.info("Kafka's offsets not committed, the ledger's count", cause=type(error).__name__)
            # With no further message to mend it, lag monitors would show a lag for ever that is not there.
            self._moved |= offsets.keys()
            self._next_commit = time.monotonic() + COMMIT_AGAIN_SECONDS

"""The port of the stored offsets: where reading goes on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

TopicPartition = tuple[str, int]
Positions = dict[TopicPartition, int]

Skipped = Mapping[TopicPartition, Sequence[tuple[int, int]]]
"""The offsets of each partition that were not read: from the first to the one behind the last."""


class OffsetStore(Protocol):
    """The stored offsets, kept beside the ledger. Raises the faults of `application.errors`."""

    @property
    def moved(self) -> int:
        """How often another server has answered than before: it may lack the last commits."""

    async def load(self, partitions: Iterable[TopicPartition]) -> Positions:
        """The stored offsets; a partition that was never read is missing."""

    async def open(self, positions: Mapping[TopicPartition, int]) -> None:
        """Stores the first offsets of partitions that were never read; others do not change."""

    async def skip_gap(self, partition: TopicPartition, expected: int, resumed: int, log_end: int) -> bool:
        """Moves the offset from `expected`, which is gone from the log or is skipped, to `resumed`; records the gap.

        False if the stored offset is not `expected` any more.
        """

    async def skipped(self, topics: Collection[str]) -> Skipped:
        """The recorded gaps of these topics."""

    async def topic_ids(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, UUID]:
        """Kafka's ids of the topics of the stored offsets, where they are known."""

    async def adopt(self, topic_ids: Mapping[TopicPartition, UUID]) -> None:
        """Stores the topic ids of partitions that had none."""

    async def begin_anew(
        self, partition: TopicPartition, expected: int, resumed: int, log_end: int, old_id: UUID, new_id: UUID
    ) -> None:
        """Moves the offset to `resumed` in a topic that was created anew; records the offset in the old topic."""

    async def note_read(self, until: Mapping[int, datetime | None], partitions: int) -> datetime:
        """Stores up to which instants partition numbers, of so many, are read; None: to their ends, so up to now.

        Returns the database's clock.
        """

    async def paused_topics(self) -> set[str]:
        """The topics that no member reads until an operator resumes them."""

    async def pause_topic(self, topic: str, reason: str) -> None:
        """Pauses the topic for all members."""

    async def resume_topic(self, topic: str) -> bool:
        """Resumes a paused topic; False if it was not paused."""

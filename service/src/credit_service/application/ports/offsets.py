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
    """Where the service goes on reading, kept beside the ledger. Raises the faults of `application.errors`."""

    @property
    def moved(self) -> int:
        """How often another server has answered than before: it may lack what was committed last."""

    async def load(self, partitions: Iterable[TopicPartition]) -> Positions:
        """The stored offsets; a partition that was never read has none."""

    async def open(self, positions: Mapping[TopicPartition, int]) -> None:
        """Stores where partitions that were never read begin; those that were are left as they are."""

    async def skip_gap(self, partition: TopicPartition, expected: int, resumed: int, log_end: int) -> bool:
        """Goes on at `resumed` because the log no longer has `expected`, or a person skips it, and records the gap.

        False if somebody has gone on from `expected` before.
        """

    async def skipped(self, topics: Collection[str]) -> Skipped:
        """What is recorded as skipped of these topics."""

    async def topic_ids(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, UUID]:
        """Kafka's ids of the topics that the stored offsets count in, where they are known."""

    async def adopt(self, topic_ids: Mapping[TopicPartition, UUID]) -> None:
        """Stores them for partitions of which they were not known."""

    async def begin_anew(
        self, partition: TopicPartition, expected: int, resumed: int, log_end: int, old_id: UUID, new_id: UUID
    ) -> None:
        """Goes on at `resumed` of a topic that was made anew, and records where reading was in the old one."""

    async def note_read(self, until: Mapping[int, datetime | None], partitions: int) -> datetime:
        """Notes up to which instants partition numbers, of so many, are read; None: to their ends, so up to now.

        Returns the database's clock.
        """

    async def paused_topics(self) -> set[str]:
        """The topics that all members leave alone until an operator lets them go on."""

    async def pause_topic(self, topic: str, reason: str) -> None:
        """Has all members leave the topic alone."""

    async def resume_topic(self, topic: str) -> bool:
        """Lets a paused topic go on; False if it was not paused."""

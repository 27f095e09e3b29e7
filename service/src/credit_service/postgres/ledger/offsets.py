"""The stored offsets, their gaps, and the paused topics."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from credit_service.application.ports import Positions, Skipped, TopicPartition
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import FailoverPool


class PostgresOffsetStore:
    """The application's `OffsetStore` in Postgres."""

    def __init__(self, pool: "FailoverPool") -> None:
        self._pool = pool

    @property
    def moved(self) -> int:
        """See `application.ports.OffsetStore`."""
        return self._pool.group.moved

    async def load(self, partitions: Iterable[TopicPartition]) -> Positions:
        """See `application.ports.OffsetStore`."""
        wanted = list(partitions)
        with translated_errors():
            rows = await self._pool.fetch(sql("load_offsets"), [t for t, _ in wanted], [n for _, n in wanted])
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    async def open(self, positions: Mapping[TopicPartition, int]) -> None:
        """See `application.ports.OffsetStore`."""
        rows = [(topic, number, offset) for (topic, number), offset in positions.items()]
        if rows:
            with translated_errors():
                await self._pool.execute(sql("insert_offsets"), *zip(*rows, strict=True))

    async def note_read(self, until: Mapping[int, datetime | None], partitions: int) -> datetime:
        """See `application.ports.OffsetStore`."""
        with translated_errors():
            now: datetime = await self._pool.fetchval(
                sql("store_partitions_read"), [*until], [*until.values()], partitions
            )
        return now

    async def skip_gap(self, partition: TopicPartition, expected: int, resumed: int, log_end: int) -> bool:
        """See `application.ports.OffsetStore`."""
        with translated_errors():
            return bool(await self._pool.fetchval(sql("skip_gap"), *partition, expected, resumed, log_end))

    async def skipped(self, topics: Collection[str]) -> Skipped:
        """See `application.ports.OffsetStore`."""
        with translated_errors():
            rows = await self._pool.fetch(sql("load_skipped_offsets"), list(topics))
        skipped: dict[TopicPartition, list[tuple[int, int]]] = {}
        for topic, number, *offsets in rows:
            skipped.setdefault((topic, number), []).append(tuple(offsets))
        return skipped

    async def topic_ids(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, UUID]:
        """See `application.ports.OffsetStore`."""
        wanted = list(partitions)
        with translated_errors():
            rows = await self._pool.fetch(sql("load_topic_ids"), [t for t, _ in wanted], [n for _, n in wanted])
        # asyncpg's own UUID class compares more slowly and has another repr.
        return {(row["topic"], row["partition"]): UUID(bytes=row["topic_id"].bytes) for row in rows}

    async def adopt(self, topic_ids: Mapping[TopicPartition, UUID]) -> None:
        """See `application.ports.OffsetStore`."""
        rows = [(topic, number, topic_id) for (topic, number), topic_id in topic_ids.items()]
        if rows:
            with translated_errors():
                await self._pool.execute(sql("store_topic_ids"), *zip(*rows, strict=True))

    async def begin_anew(
        self, partition: TopicPartition, expected: int, resumed: int, log_end: int, old_id: UUID, new_id: UUID
    ) -> None:
        """See `application.ports.OffsetStore`."""
        with translated_errors():
            await self._pool.execute(
                sql("resume_recreated_topic"), *partition, expected, resumed, log_end, old_id, new_id
            )

    async def paused_topics(self) -> set[str]:
        """See `application.ports.OffsetStore`."""
        with translated_errors():
            return {row["topic"] for row in await self._pool.fetch(sql("load_paused_topics"))}

    async def pause_topic(self, topic: str, reason: str) -> None:
        """See `application.ports.OffsetStore`."""
        with translated_errors():
            await self._pool.execute(sql("pause_topic"), topic, reason)

    async def resume_topic(self, topic: str) -> bool:
        """See `application.ports.OffsetStore`."""
        with translated_errors():
            return await self._pool.fetchval(sql("resume_topic"), topic) is not None

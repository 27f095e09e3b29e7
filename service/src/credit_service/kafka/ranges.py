"""Ranges of topics that are read once more, by a consumer of their own: no group of the service is touched."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from credit_service.application import ports
from credit_service.kafka.connection import KafkaConnection
from credit_service.kafka.topics import partition_counts

ANSWER_SECONDS_MAX = 30
IDLE_SECONDS_MAX = 60
"""So long nothing may come of a range that is not at its end."""

FETCH_BYTES_MAX = 512 * 1024
POLL_MS = 500

Bound: TypeAlias = datetime | int | None
"""An instant by Kafka's own time of the records, an offset in every partition, or as far as there is anything."""

Wanted: TypeAlias = Callable[[ports.TopicPartition], bool]

Isolation = Literal["read_committed", "read_uncommitted"]


class TopicsUnknown(Exception):  # noqa: N818 - reads as the condition that it reports
    """The broker does not have these topics; their names are the message."""


class RangeStalled(Exception):  # noqa: N818
    """Nothing more came, although the range is not at its end; where it stopped is the message."""


@dataclass(frozen=True, slots=True)
class Range:
    """What is to be read of one partition: from `first` up to but without `end`.

    `eaten`: so many offsets before `first` were asked for, and retention has removed them.
    """

    topic: str
    number: int
    first: int
    end: int
    eaten: int = 0

    @property
    def partition(self) -> ports.TopicPartition:
        """Topic and number."""
        return self.topic, self.number

    def __len__(self) -> int:
        return self.end - self.first


class RangeReader:
    """Reads ranges; to be had from `range_reader`."""

    def __init__(self, consumer: AIOKafkaConsumer, connection: KafkaConnection) -> None:
        self._consumer = consumer
        self._connection = connection

    async def partitions(self, topics: Collection[str]) -> list[TopicPartition]:
        """All partitions of `topics`; raises `TopicsUnknown`."""
        counts = await partition_counts(self._connection)
        if missing := sorted(set(topics) - set(counts)):
            raise TopicsUnknown(", ".join(missing))
        return [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]

    async def ranges(
        self, topics: Collection[str], start: Bound, end: Bound, limits: Mapping[ports.TopicPartition, int] | None
    ) -> list[Range]:
        """What lies between `start` and `end` in each partition, and never past `limits`, where those are given.

        A partition that has no limit then has nothing to be read. Empty ranges are left out, unless something of them
        was eaten.
        """
        partitions = await self.partitions(topics)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            first = await self._consumer.beginning_offsets(partitions)
            log_end = await self._consumer.end_offsets(partitions)
            begins = await self._offsets(partitions, start, log_end, 0)
            ends = await self._offsets(partitions, end, log_end, None)
        found = []
        for at in partitions:
            limit = log_end[at] if limits is None else limits.get((at.topic, at.partition), 0)
            until = min(limit, log_end[at] if ends[at] is None else ends[at])
            begin = min(max(begins[at], first[at]), until)
            eaten = max(0, begin - begins[at])
            if begin < until or eaten:
                found.append(Range(at.topic, at.partition, begin, until, eaten))
        return found

    async def _offsets(
        self, partitions: Sequence[TopicPartition], bound: Bound, log_end: Mapping[TopicPartition, int], default: object
    ) -> dict[TopicPartition, int]:
        if bound is None:
            return dict.fromkeys(partitions, default)  # type: ignore[arg-type] # None stands for the log's end
        if isinstance(bound, int):
            return dict.fromkeys(partitions, bound)
        milliseconds = int(bound.timestamp() * 1000)
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
        return {at: log_end[at] if found.get(at) is None else found[at].offset for at in partitions}

    async def read(
        self, ranges: Sequence[Range], wanted: Wanted | None = None
    ) -> AsyncGenerator[tuple[Range, list[ConsumerRecord]]]:
        """The records of `ranges`, some of one partition at a time, each partition in its order.

        `wanted`, if given, says before each fetch of which partitions more may come. Ends with the ranges; raises
        `RangeStalled` and aiokafka's errors.
        """
        by_partition = {TopicPartition(*r.partition): r for r in ranges if len(r)}
        self._consumer.assign(list(by_partition))
        for at, asked in by_partition.items():
            self._consumer.seek(at, asked.first)
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        positions = {at: asked.first for at, asked in by_partition.items()}
        while by_partition:
            ready = [at for at in by_partition if wanted is None or wanted((at.topic, at.partition))]
            fetched = await self._consumer.getmany(*ready, timeout_ms=POLL_MS) if ready else {}
            for at, records in fetched.items():
                within = [record for record in records if record.offset < by_partition[at].end]
                if within:
                    yield by_partition[at], within
            if not ready:
                moved_at = loop.time()
                await asyncio.sleep(0)
            for at in list(ready):
                # Past markers of transactions, and what was compacted away, too.
                position = await self._consumer.position(at)
                if position > positions[at]:
                    positions[at], moved_at = position, loop.time()
                if position >= by_partition[at].end:
                    del by_partition[at]
                    self._consumer.pause(at)
            if loop.time() - moved_at > IDLE_SECONDS_MAX:
                stuck = ", ".join(f"{at.topic}/{at.partition} at {positions[at]}" for at in by_partition)
                raise RangeStalled(f"nothing came for {IDLE_SECONDS_MAX} s: {stuck}")


@asynccontextmanager
async def range_reader(
    connection: KafkaConnection, isolation: Isolation = "read_committed"
) -> AsyncIterator[RangeReader]:
    """A reader with a consumer of its own; raises aiokafka's errors, or `TimeoutError`, if no broker answers."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers.split(","),
        client_id=f"{connection.group_id}-ranges",
        group_id=None,
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        fetch_max_wait_ms=POLL_MS,
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await consumer.start()
        yield RangeReader(consumer, connection)
    finally:
        await consumer.stop()

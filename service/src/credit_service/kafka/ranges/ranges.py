"""Reads ranges of topics again, by a consumer of its own that is in no group."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from aiokafka import TopicPartition

from credit_service import bounds
from credit_service.application import ports
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.fetch.portion_consumer import PortionConsumer
from credit_service.kafka.fetch.portions import Fault, Item, OutOfRange, Portion
from credit_service.kafka.topics import partition_counts

ANSWER_SECONDS_MAX = 30
IDLE_SECONDS_MAX = 60
"""The longest wait for a record of a range that is not at its end."""

LOOK_SECONDS_MAX = 5
"""The longest wait for partitions that are only checked for faults."""

POLL_MS = 500
FETCH_WAIT_MS = 20
"""The wait of a broker that has no more records; other partitions are fetched only after it."""
FULL_WAIT_SECONDS = 0.01
"""The wait while no partition is wanted."""

NOTHING_SKIPPED: ports.Skipped = {}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

Bound: TypeAlias = datetime | int | None
"""An instant by the records' timestamps, an offset in every partition, or None for no bound."""

Wanted: TypeAlias = Callable[[ports.TopicPartition], bool]

Removed: TypeAlias = Callable[[ports.TopicPartition, int], None]
"""Called with the number of offsets that retention removed while their range was read."""

Isolation = Literal["read_committed", "read_uncommitted"]


class TopicsUnknown(Exception):  # noqa: N818 - reads as the condition that it reports
    """The broker does not have these topics; their names are the message."""


class RangeStalled(Exception):  # noqa: N818
    """No further record came or could be read before the range's end; the message has the offset."""


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of one partition: from `first` up to but without `end`.

    `lost_to_retention`: the number of requested offsets before `first` that retention has removed. `begins_the_log`:
    `first` is the log's start, and earlier offsets were removed. `skipped`: offsets that are passed over if they cannot
    be read, as the service has passed over them before.
    """

    topic: str
    number: int
    first: int
    end: int
    lost_to_retention: int = 0
    begins_the_log: bool = False
    skipped: Sequence[tuple[int, int]] = ()

    @property
    def partition(self) -> ports.TopicPartition:
        """Topic and number."""
        return self.topic, self.number

    def behind(self, offset: int) -> int | None:
        """The offset to go on at if this one cannot be read; None if it was not skipped."""
        return max((end for begin, end in self.skipped if begin <= offset < end), default=None)

    def __len__(self) -> int:
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class RangeContent:
    """The first readable offset of a range, and the faults before it."""

    readable: int | None
    faults: Sequence[Fault]


class RangeReader:
    """Reads ranges; see `range_reader`."""

    def __init__(self, consumer: PortionConsumer, connection: KafkaConnection) -> None:
        self._consumer = consumer
        self._connection = connection

    async def partitions(self, topics: Collection[str]) -> list[TopicPartition]:
        """All partitions of `topics`; raises `TopicsUnknown`."""
        counts = await partition_counts(self._connection, topics, "read")
        if missing := sorted(set(topics) - set(counts)):
            raise TopicsUnknown(", ".join(missing))
        return [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]

    async def ranges(
        self,
        topics: Collection[str],
        start: Bound,
        end: Bound,
        limits: Mapping[ports.TopicPartition, int] | None,
        skipped: ports.Skipped = NOTHING_SKIPPED,
    ) -> list[Range]:
        """The offsets between `start` and `end` in each partition, and up to `limits`, where those are given.

        A partition without a limit among them is not read. Empty ranges are left out, unless offsets of them were
        removed.
        """
        partitions = await self.partitions(topics)
        first, log_end = await self.bounds(partitions)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            begins = await self._offsets(partitions, start, log_end)
            ends = await self._offsets(partitions, end, log_end)
        found = []
        for at in partitions:
            limit = log_end[at] if limits is None else limits.get((at.topic, at.partition), 0)
            # A limit may be beyond the log's end if the topic was created again.
            until = min(limit, log_end[at], log_end[at] if ends is None else ends[at])
            requested = 0 if begins is None else begins[at]
            begin = min(max(requested, first[at]), until)
            lost = max(0, begin - requested)
            if begin < until or lost:
                begins_the_log = 0 < first[at] == begin
                passed_over = skipped.get((at.topic, at.partition), ())
                found.append(Range(at.topic, at.partition, begin, until, lost, begins_the_log, passed_over))
        return found

    async def bounds(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
        """The start of each log, and its end for this isolation level; raises aiokafka's errors."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await self._add_topics({at.topic for at in partitions})
            return await self._consumer.beginning_offsets(partitions), await self._consumer.end_offsets(partitions)

    async def _add_topics(self, topics: Collection[str]) -> None:
        """Requests the topics' metadata at once; the consumer itself would request one at a time, with pauses."""
        client = self._consumer._client  # no public call adds topics without assigning their partitions
        await asyncio.gather(*(client.add_topic(topic) for topic in topics))

    async def _offsets(
        self, partitions: Sequence[TopicPartition], bound: Bound, log_end: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int] | None:
        if bound is None:
            return None
        if isinstance(bound, int):
            return dict.fromkeys(partitions, bound)
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds_of(bound)))
        return {at: log_end[at] if found.get(at) is None else found[at].offset for at in partitions}

    async def read(
        self, ranges: Sequence[Range], wanted: Wanted | None = None, removed: Removed | None = None
    ) -> AsyncGenerator[tuple[Range, list[Item]]]:
        """The records of `ranges`, in portions of one partition each and in its order; an empty portion ends a range.

        `wanted`, if given, says before each fetch of which partitions more may come. Offsets that retention removes
        meanwhile are passed over if `removed` is given. Raises `RangeStalled` and aiokafka's errors.
        """
        left = {TopicPartition(*r.partition): r for r in ranges if len(r)}
        self._consumer.assign(list(left))
        for at, one in left.items():
            self._consumer.seek(at, one.first)
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        positions = {at: one.first for at, one in left.items()}
        while left:
            ready = [at for at in left if wanted is None or wanted(at)]
            if not ready:
                await asyncio.sleep(FULL_WAIT_SECONDS)
                moved_at = loop.time()
                continue
            for portion in await self._portions(ready):
                at = portion.partition
                if within := [record for record in portion.records if record.offset < left[at].end]:
                    yield left[at], within
                if isinstance(portion.fault, OutOfRange):
                    await self._pass_over(at, portion.until, left[at].end, removed)
                elif portion.fault is not None and (behind := left[at].behind(portion.fault.offset)):
                    self._consumer.seek(at, behind)
                elif portion.fault is not None and portion.fault.offset < left[at].end:
                    raise RangeStalled(
                        f"{at.topic}/{at.partition} cannot be read from offset {portion.fault.offset} on:"
                        f" {portion.fault.cause}"
                    )
            for at in ready:
                # The position passes transaction markers and compacted records, too.
                position = await self._consumer.position(at)
                if position > positions[at]:
                    positions[at], moved_at = position, loop.time()
                if position >= left[at].end:
                    self._consumer.pause(at)
                    yield left.pop(at), []
            if left and loop.time() - moved_at > IDLE_SECONDS_MAX:
                stuck = ", ".join(f"{at.topic}/{at.partition} at {positions[at]}" for at in left)
                raise RangeStalled(f"nothing came for {IDLE_SECONDS_MAX} s: {stuck}")

    async def look(self, within: Range) -> RangeContent:
        """Reads up to the first readable record of the range, past faults; raises aiokafka's errors."""
        at = TopicPartition(*within.partition)
        self._consumer.assign([at])
        self._consumer.seek(at, within.first)
        faults: list[Fault] = []
        async with asyncio.timeout(IDLE_SECONDS_MAX):
            while await self._consumer.position(at) < within.end:
                for portion in await self._portions([at]):
                    if portion.records:
                        first = portion.records[0].offset
                        return RangeContent(first if first < within.end else None, faults)
                    if isinstance(portion.fault, Fault):
                        faults.append(portion.fault)
                        if portion.fault.until is None:
                            return RangeContent(None, faults)
                        self._consumer.seek(at, portion.fault.until)
        return RangeContent(None, faults)

    async def faults_at(self, positions: ports.Positions) -> dict[ports.TopicPartition, Fault]:
        """The faults of partitions that cannot be read at their offsets; without those that do not answer soon."""
        left = {TopicPartition(*partition) for partition in positions}
        self._consumer.assign(list(left))
        for partition, offset in positions.items():
            self._consumer.seek(TopicPartition(*partition), offset)
        faults: dict[ports.TopicPartition, Fault] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS_MAX):
                while left:
                    for portion in await self._portions(list(left)):
                        at = portion.partition
                        left.discard(at)
                        if isinstance(portion.fault, Fault) and not portion.records:
                            faults[at.topic, at.partition] = portion.fault
                        self._consumer.pause(at)
        return faults

    async def _portions(self, partitions: Sequence[TopicPartition]) -> list[Portion]:
        return await self._consumer.portions(
            *partitions,
            timeout_ms=POLL_MS,
            records_max=bounds.POLL_RECORDS_MAX,
            bytes_max=bounds.POLL_BYTES_MAX,
        )

    async def _pass_over(self, at: TopicPartition, offset: int, end: int, removed: Removed | None) -> None:
        """Goes on at the log's start; raises `RangeStalled` if that is not further on, or without `removed`."""
        first, _ = await self.bounds([at])
        if first[at] <= offset or removed is None:
            raise RangeStalled(f"{at.topic}/{at.partition}: offset {offset} is gone, the log begins at {first[at]}")
        removed((at.topic, at.partition), min(first[at], end) - offset)
        self._consumer.seek(at, first[at])


def milliseconds_of(instant: datetime) -> int:
    """The least timestamp of a record at or after the instant; Kafka's timestamps begin in 1970."""
    return max(0, -((EPOCH - instant) // MILLISECOND))


@asynccontextmanager
async def range_reader(
    connection: KafkaConnection, isolation: Isolation = "read_committed"
) -> AsyncIterator[RangeReader]:
    """A reader with its own consumer; raises aiokafka's errors, or `TimeoutError`, if no broker answers."""
    consumer = create_client(
        PortionConsumer,
        connection,
        client_id=f"{connection.group_id}-ranges",
        group_id=None,
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=bounds.RANGE_FETCH_BYTES_MAX,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await consumer.start()
        yield RangeReader(consumer, connection)
    finally:
        await consumer.stop()

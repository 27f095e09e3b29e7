"""Ranges of topics that are read once more, by a consumer of their own: no group of the service is touched."""

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
"""So long nothing may come of a range that is not at its end."""

LOOK_SECONDS_MAX = 5
"""So long partitions are given to answer that are only looked at."""

POLL_MS = 500
FETCH_WAIT_MS = 20
"""A broker with nothing more waits so long before it says so; other partitions are asked for only then."""
FULL_WAIT_SECONDS = 0.01
"""While nothing is wanted, it is asked again after so long."""

NOTHING_SKIPPED: ports.Skipped = {}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

Bound: TypeAlias = datetime | int | None
"""An instant by Kafka's own time of the records, an offset in every partition, or as far as there is anything."""

Wanted: TypeAlias = Callable[[ports.TopicPartition], bool]

Eaten: TypeAlias = Callable[[ports.TopicPartition, int], None]
"""Told of so many offsets that retention removed while their range was read."""

Isolation = Literal["read_committed", "read_uncommitted"]


class TopicsUnknown(Exception):  # noqa: N818 - reads as the condition that it reports
    """The broker does not have these topics; their names are the message."""


class RangeStalled(Exception):  # noqa: N818
    """Nothing more came, or could be read, although the range is not at its end; where it stopped is the message."""


@dataclass(frozen=True, slots=True)
class Range:
    """What is to be read of one partition: from `first` up to but without `end`.

    `eaten`: so many offsets before `first` were asked for, and retention has removed them. `begins_the_log`: there is
    nothing before `first` any more, and once there was. `skipped`: what is not read where it cannot be, since it was
    gone past before.
    """

    topic: str
    number: int
    first: int
    end: int
    eaten: int = 0
    begins_the_log: bool = False
    skipped: Sequence[tuple[int, int]] = ()

    @property
    def partition(self) -> ports.TopicPartition:
        """Topic and number."""
        return self.topic, self.number

    def behind(self, offset: int) -> int | None:
        """Where reading goes on if the offset cannot be read; None if nobody has gone past it."""
        return max((end for begin, end in self.skipped if begin <= offset < end), default=None)

    def __len__(self) -> int:
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class RangeContent:
    """What lies in a range: the offset of the first record that can be read, and why others before it cannot be."""

    readable: int | None
    faults: Sequence[Fault]


class RangeReader:
    """Reads ranges; to be had from `range_reader`."""

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
        """What lies between `start` and `end` in each partition, and never past `limits`, where those are given.

        A partition that has no limit then has nothing to be read. Empty ranges are left out, unless something of them
        was eaten.
        """
        partitions = await self.partitions(topics)
        first, log_end = await self.bounds(partitions)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            begins = await self._offsets(partitions, start, log_end)
            ends = await self._offsets(partitions, end, log_end)
        found = []
        for at in partitions:
            limit = log_end[at] if limits is None else limits.get((at.topic, at.partition), 0)
            # A limit may lie beyond the log's end, where a topic was made anew.
            until = min(limit, log_end[at], log_end[at] if ends is None else ends[at])
            asked = 0 if begins is None else begins[at]
            begin = min(max(asked, first[at]), until)
            eaten = max(0, begin - asked)
            if begin < until or eaten:
                begins_the_log = 0 < first[at] == begin
                gone_past = skipped.get((at.topic, at.partition), ())
                found.append(Range(at.topic, at.partition, begin, until, eaten, begins_the_log, gone_past))
        return found

    async def bounds(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
        """Where each log begins, and where it ends for a reader of this isolation; raises aiokafka's errors."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await self._hear_of({at.topic for at in partitions})
            return await self._consumer.beginning_offsets(partitions), await self._consumer.end_offsets(partitions)

    async def _hear_of(self, topics: Collection[str]) -> None:
        """Asks where they are, all at once; the consumer itself asks for one at a time, and pauses after each."""
        client = self._consumer._client  # no public call tells it of topics without assigning their partitions
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
        self, ranges: Sequence[Range], wanted: Wanted | None = None, eaten: Eaten | None = None
    ) -> AsyncGenerator[tuple[Range, list[Item]]]:
        """The records of `ranges`, some of one partition at a time, each partition in its order; no records at all
        say that the range is at its end.

        `wanted`, if given, says before each fetch of which partitions more may come. What retention removes meanwhile
        is passed over where there is `eaten` to hear of it. Ends with the ranges; raises `RangeStalled` and aiokafka's
        errors.
        """
        left = {TopicPartition(*r.partition): r for r in ranges if len(r)}
        self._consumer.assign(list(left))
        for at, asked in left.items():
            self._consumer.seek(at, asked.first)
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        positions = {at: asked.first for at, asked in left.items()}
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
                    await self._pass_over(at, portion.until, left[at].end, eaten)
                elif portion.fault is not None and (behind := left[at].behind(portion.fault.offset)):
                    self._consumer.seek(at, behind)
                elif portion.fault is not None and portion.fault.offset < left[at].end:
                    raise RangeStalled(
                        f"{at.topic}/{at.partition} cannot be read from offset {portion.fault.offset} on:"
                        f" {portion.fault.cause}"
                    )
            for at in ready:
                # Past marks of transactions, and what was compacted away, too.
                position = await self._consumer.position(at)
                if position > positions[at]:
                    positions[at], moved_at = position, loop.time()
                if position >= left[at].end:
                    self._consumer.pause(at)
                    yield left.pop(at), []
            if left and loop.time() - moved_at > IDLE_SECONDS_MAX:
                stuck = ", ".join(f"{at.topic}/{at.partition} at {positions[at]}" for at in left)
                raise RangeStalled(f"nothing came for {IDLE_SECONDS_MAX} s: {stuck}")

    async def look(self, asked: Range) -> RangeContent:
        """Reads the range up to the first record that can be read, past what cannot be; raises aiokafka's errors."""
        at = TopicPartition(*asked.partition)
        self._consumer.assign([at])
        self._consumer.seek(at, asked.first)
        faults: list[Fault] = []
        async with asyncio.timeout(IDLE_SECONDS_MAX):
            while await self._consumer.position(at) < asked.end:
                for portion in await self._portions([at]):
                    if portion.records:
                        first = portion.records[0].offset
                        return RangeContent(first if first < asked.end else None, faults)
                    if isinstance(portion.fault, Fault):
                        faults.append(portion.fault)
                        if portion.fault.until is None:
                            return RangeContent(None, faults)
                        self._consumer.seek(at, portion.fault.until)
        return RangeContent(None, faults)

    async def faults_at(self, positions: ports.Positions) -> dict[ports.TopicPartition, Fault]:
        """Which of the partitions cannot be read at their offsets; of what does not answer soon nothing is told."""
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

    async def _pass_over(self, at: TopicPartition, offset: int, end: int, eaten: Eaten | None) -> None:
        """Goes on where the log begins now; raises `RangeStalled` if that is further back, or nobody is to hear it."""
        first, _ = await self.bounds([at])
        if first[at] <= offset or eaten is None:
            raise RangeStalled(f"{at.topic}/{at.partition}: offset {offset} is gone, the log begins at {first[at]}")
        eaten((at.topic, at.partition), min(first[at], end) - offset)
        self._consumer.seek(at, first[at])


def milliseconds_of(instant: datetime) -> int:
    """Kafka's time that a record at or after the instant has at least; nothing lies before 1970 there."""
    return max(0, -((EPOCH - instant) // MILLISECOND))


@asynccontextmanager
async def range_reader(
    connection: KafkaConnection, isolation: Isolation = "read_committed"
) -> AsyncIterator[RangeReader]:
    """A reader with a consumer of its own; raises aiokafka's errors, or `TimeoutError`, if no broker answers."""
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

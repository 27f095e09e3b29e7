"""The records of a replay: ranges of the incoming topics, merged by event time like a backlog, in bounded buffers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from credit_service import bounds
from credit_service.application.ports import Skipped, TopicPartition
from credit_service.application.processing.arrival import LedgerClock
from credit_service.application.processing.merge import Merge
from credit_service.application.record import Record
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.fetch.records import read_item
from credit_service.kafka.ranges.ranges import Bound, Range, RangeReader, range_reader


async def replay_ranges(
    connection: KafkaConnection,
    topics: Collection[str],
    start: Bound,
    end: Bound,
    stored: Mapping[TopicPartition, int],
    skipped: Skipped,
) -> list[Range]:
    """The ranges between `start` and `end` of these topics, up to the `stored` offsets.

    `skipped` offsets are passed over if they cannot be read. Raises `TopicsUnknown` and the broker's errors.
    """
    async with range_reader(connection) as reader:
        return await reader.ranges(topics, start, end, stored, skipped)


@asynccontextmanager
async def open_records(connection: KafkaConnection, ranges: Sequence[Range]) -> AsyncIterator["KafkaRecords"]:
    """The records of `ranges`, by a consumer of its own; raises the broker's errors."""
    async with range_reader(connection) as reader:
        yield KafkaRecords(connection, reader, ranges)


class KafkaRecords:
    """The application's `Source`; see `open_records`."""

    def __init__(self, connection: KafkaConnection, reader: RangeReader, ranges: Sequence[Range]) -> None:
        self.lost_to_retention = 0
        self._connection = connection
        self._reader = reader
        self._ranges = [one for one in ranges if len(one)]
        self._merge = Merge(bounds.REPLAY_BUFFERED_BYTES_MAX, LedgerClock())
        self._at_their_ends: set[TopicPartition] = set()
        self._changed = asyncio.Event()

    async def batches(self, records_max: int) -> AsyncGenerator[Sequence[Record]]:
        """See `Source` of application.replay. While a batch is decided, reading goes on until the buffers are full."""
        for one in self._ranges:
            self._merge.add(one.partition)
        reading = asyncio.create_task(self._read())
        try:
            while True:
                self._changed.clear()
                bytes_max = bounds.REPLAY_BATCH_BYTES_MAX
                if batch := self._merge.take(records_max, bytes_max, self._at_their_ends.__contains__):
                    yield batch
                elif reading.done():
                    reading.result()
                    return
                else:
                    await self._changed.wait()
        finally:
            reading.cancel()
            await asyncio.wait({reading})

    async def _read(self) -> None:
        try:
            async with aclosing(self._reader.read(self._ranges, self._has_room, self._note_removed)) as portions:
                async for one, items in portions:
                    if not items:
                        self._at_their_ends.add(one.partition)
                    event_type = self._connection.event_type(one.topic)
                    self._merge.feed(
                        one.partition,
                        [read_item(one.partition, event_type, item) for item in items],
                    )
                    self._changed.set()
        finally:
            self._changed.set()

    def _has_room(self, partition: TopicPartition) -> bool:
        return partition not in self._merge.full()

    def _note_removed(self, partition: TopicPartition, offsets: int) -> None:
        del partition
        self.lost_to_retention += offsets

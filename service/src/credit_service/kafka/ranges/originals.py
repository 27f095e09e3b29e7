"""Reads the messages of dead letters again that are kept without their bytes, by their offsets."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import zip_longest
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from credit_service.application.dead_letters.left_out import LeftOut, NotRead, checked
from credit_service.application.record import Record
from credit_service.domain.event import Incoming, Place
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.fetch.records import read_item
from credit_service.kafka.ranges.ranges import Range, RangeReader, RangeStalled, TopicsUnknown, range_reader

if TYPE_CHECKING:
    from credit_service.application.ports import TopicPartition as Partition

BETWEEN_MAX = 200
"""The largest distance of two wanted offsets for which the offsets between are read rather than sought over."""

NOT_THERE = NotRead("bytes-gone", "Kafka does not have the message any more")


class KafkaOriginals:
    """The application's `Originals` in Kafka."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection

    async def read(self, wanted: Mapping[Place, LeftOut]) -> Mapping[Place, Record | NotRead]:
        """See `application.dead_letters.left_out.Originals`."""
        found: dict[Place, Record | NotRead] = {}
        try:
            async with range_reader(self._connection) as reader:
                for ranges in _rounds(await self._present(reader, wanted)):
                    await self._read(reader, ranges, wanted, found)
        except (KafkaError, TimeoutError, RangeStalled, OSError) as error:
            why = str(error) if isinstance(error, RangeStalled) else type(error).__name__
            unread = NotRead("bytes-unread", f"the message could not be read from Kafka: {why}")
            return {place: found.get(place, unread) for place in wanted}
        return {place: found.get(place, NOT_THERE) for place in wanted}

    async def _present(self, reader: RangeReader, wanted: Mapping[Place, LeftOut]) -> list[Place]:
        """The places that the logs still have."""
        partitions: set[TopicPartition] = set()
        for topic in {place.topic for place in wanted}:
            try:
                partitions.update(await reader.partitions([topic]))
            except TopicsUnknown:
                continue
        named = [at for at in partitions if any(place[:2] == tuple(at) for place in wanted)]
        if not named:
            return []
        first, end = await reader.bounds(named)
        places = [place for place in wanted if TopicPartition(*place[:2]) in first]
        return [p for p in places if first[TopicPartition(*p[:2])] <= p.offset < end[TopicPartition(*p[:2])]]

    async def _read(
        self,
        reader: RangeReader,
        ranges: Sequence[Range],
        wanted: Mapping[Place, LeftOut],
        found: dict[Place, Record | NotRead],
    ) -> None:
        async with aclosing(reader.read(ranges, removed=lambda _, __: None)) as portions:
            async for within, items in portions:
                for item in items:
                    place = Place(*within.partition, item.offset)
                    if (left_out := wanted.get(place)) is not None:
                        event_type = self._connection.event_type(place.topic)
                        record = read_item(TopicPartition(*within.partition), event_type, item)
                        if isinstance(record.content, Incoming):
                            # As for any other letter, a retry compares the event's time with the current time alone.
                            record.content.appended_at = None
                        found[place] = checked(record, left_out)


def _rounds(places: Sequence[Place]) -> Iterator[list[Range]]:
    """Ranges that contain all places; each round has one range of a partition at most."""
    offsets: dict[Partition, list[int]] = defaultdict(list)
    for place in sorted(places):
        offsets[place[:2]].append(place.offset)
    by_partition: list[list[Range]] = []
    for (topic, number), wanted in offsets.items():
        ranges: list[Range] = []
        first = last = wanted[0]
        for offset in wanted[1:]:
            if offset - last > BETWEEN_MAX:
                ranges.append(Range(topic, number, first, last + 1))
                first = offset
            last = offset
        by_partition.append([*ranges, Range(topic, number, first, last + 1)])
    for together in zip_longest(*by_partition):
        yield [one for one in together if one is not None]

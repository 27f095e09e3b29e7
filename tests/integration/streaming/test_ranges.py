"""Ranges of topics read again, on the real Kafka: bounds, ends of transactions, retention, and missing records."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.ranges import ranges as module
from credit_service.kafka.ranges.ranges import Range, RangeReader, RangeStalled, TopicsUnknown, range_reader
from support.topics import delete_records, make_topic, remove_topics
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

# Not long ago: what is older than a topic's retention the broker removes at any time.
NOON = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def topic(kafka: str, topic_prefix: str) -> AsyncIterator[str]:
    """A topic of two partitions; its number 1 stays empty."""
    name = f"{topic_prefix}ranges"
    await make_topic(kafka, name, partitions=2)
    yield name
    await remove_topics(kafka, [name])


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


@pytest.fixture
async def transactional(kafka: str, topic: str) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


@pytest.fixture
def connection(kafka: str, topic_prefix: str) -> KafkaConnection:
    return KafkaConnection(kafka, f"{topic_prefix}group", topic_prefix)


@pytest.fixture
async def reader(connection: KafkaConnection) -> AsyncIterator[RangeReader]:
    async with range_reader(connection) as reader:
        yield reader


async def send(producer: Any, topic: str, *values: str, partition: int = 0, second: int = 0) -> None:
    """Each a second after the one before, by Kafka's own time."""
    for number, value in enumerate(values):
        at = NOON + (second + number) * SECOND
        await producer.send_and_wait(
            topic, value.encode(), partition=partition, timestamp_ms=round(at.timestamp() * 1000)
        )


async def values_of(reader: RangeReader, ranges: Sequence[Range], **more: Any) -> list[str]:
    async with aclosing(reader.read(ranges, **more)) as portions:
        return [(r.value or b"").decode() async for _, records in portions for r in records]


async def test_all_there_is(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, "a", "b", "c")
    found = await reader.ranges([topic], None, None, None)
    assert found == [Range(topic, 0, 0, 3)]
    assert await values_of(reader, found) == ["a", "b", "c"]


# Start, end, and what lies between them of three records that are a second apart.
BOUNDS: list[tuple[module.Bound, module.Bound, str]] = [
    (1, None, "bc"),
    (None, 2, "ab"),
    (1, 2, "b"),
    (3, None, ""),
    (7, None, ""),
    (None, 9, "abc"),
    (2, 9, "c"),
    (NOON + SECOND, None, "bc"),
    (NOON, NOON + SECOND, "a"),
    # No record lies in the midst of a second, nor within a millisecond.
    (NOON + SECOND / 2, NOON + 1.5 * SECOND, "b"),
    (NOON + timedelta(microseconds=1), NOON + SECOND + timedelta(microseconds=1), "b"),
    (NOON + 9 * SECOND, None, ""),
    (None, NOON - SECOND, ""),
    # Kafka takes small negative times for names of the log's ends.
    (datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), None, "abc"),
    (datetime(1969, 12, 31, 23, 59, 59, 998000, tzinfo=UTC), None, "abc"),
    (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), "abc"),
    (2, NOON + SECOND, ""),
]


async def test_bounds(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, "a", "b", "c")
    read, spanned = [], []
    for start, end, _ in BOUNDS:
        found = await reader.ranges([topic], start, end, None)
        spanned.append(sum(map(len, found)))
        read.append((start, end, "".join(await values_of(reader, found))))
    assert read == BOUNDS
    assert spanned == [len(expected) for _, _, expected in BOUNDS]


@pytest.mark.parametrize("end", [None, 9, NOON + 9 * SECOND])
async def test_never_past_the_limits(reader: RangeReader, producer: Any, topic: str, end: module.Bound) -> None:
    """A limit beyond the log's end, as of a topic that was made anew, is none."""
    await send(producer, topic, "a", "b", "c")
    cases: list[tuple[dict[int, int], str]] = [({0: 2}, "ab"), ({0: 9}, "abc"), ({0: 0}, ""), ({1: 3}, ""), ({}, "")]
    read = []
    for limits, _ in cases:
        found = await reader.ranges([topic], None, end, {(topic, number): at for number, at in limits.items()})
        read.append((limits, "".join(await values_of(reader, found))))
    assert read == cases


async def test_limits_and_bounds_together(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, *"abcde")
    limits = {(topic, 0): 3}
    assert await reader.ranges([topic], 1, 2, limits) == [Range(topic, 0, 1, 2)]
    assert await reader.ranges([topic], 1, 5, limits) == [Range(topic, 0, 1, 3)]
    assert await reader.ranges([topic], 4, 5, limits) == []


async def test_a_topic_that_is_not_there_is_named(reader: RangeReader, topic: str) -> None:
    with pytest.raises(TopicsUnknown, match=r"^t\w+-ranges-no$"):
        await reader.ranges([topic, f"{topic}-no"], None, None, None)


async def test_an_empty_range_ends_at_once(reader: RangeReader, topic: str) -> None:
    assert await reader.ranges([topic], None, None, None) == []
    assert await values_of(reader, []) == []
    assert await values_of(reader, [Range(topic, 0, 3, 3, lost_to_retention=3)]) == []


async def test_one_reader_reads_one_range_after_the_other(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, "a", "b")
    await send(producer, topic, "x", "y", partition=1)
    first, second = await reader.ranges([topic], None, None, None)
    for _ in range(2):
        assert await values_of(reader, [first]) == ["a", "b"]
        assert await values_of(reader, [second]) == ["x", "y"]


async def test_one_that_was_left_in_its_midst_is_read_anew(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, "a", "b")
    found = await reader.ranges([topic], None, None, None)
    async with aclosing(reader.read(found)) as portions:
        await anext(portions)
    assert await values_of(reader, found) == ["a", "b"]


# --- transactions


async def transaction(producer: Any, topic: str, *values: str, commits: bool = True) -> None:
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait(topic, value.encode(), partition=0)
    await (producer.commit_transaction() if commits else producer.abort_transaction())


async def end_of(kafka: str, topic: str, isolation: str = "read_committed") -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level=isolation)
    try:
        await consumer.start()
        end: int = (await consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)]
        return end
    finally:
        await consumer.stop()


async def until_closed(kafka: str, topic: str, end: int) -> None:
    """A transaction's end is acknowledged before the partition has its marker."""
    await eventually(lambda: _ends_at(kafka, topic, end))


async def _ends_at(kafka: str, topic: str, end: int) -> bool:
    return await end_of(kafka, topic) == end


@pytest.mark.parametrize("commits", [True, False])
async def test_a_range_ends_behind_the_marker_of_a_transaction(
    reader: RangeReader, transactional: Any, topic: str, kafka: str, commits: bool
) -> None:
    await transaction(transactional, topic, "a")
    await transaction(transactional, topic, "b", "c", commits=commits)
    await until_closed(kafka, topic, 5)
    found = await reader.ranges([topic], None, None, None)
    assert found == [Range(topic, 0, 0, 5)]
    assert await values_of(reader, found) == (["a", "b", "c"] if commits else ["a"])


async def test_a_range_of_markers_and_what_was_given_up_has_nothing_and_ends(
    reader: RangeReader, transactional: Any, topic: str, kafka: str
) -> None:
    await transaction(transactional, topic, "a")
    await transaction(transactional, topic, "b", "c", commits=False)
    await until_closed(kafka, topic, 5)
    for first, end in ((1, 2), (4, 5), (2, 5)):
        async with aclosing(reader.read([Range(topic, 0, first, end)])) as portions:
            assert [(one.number, records) async for one, records in portions] == [(0, [])], (first, end)


async def test_what_is_not_committed_yet_lies_beyond_the_end(
    reader: RangeReader, connection: KafkaConnection, transactional: Any, topic: str
) -> None:
    await transaction(transactional, topic, "a")
    await transactional.begin_transaction()
    await transactional.send_and_wait(topic, b"b", partition=0)
    found = await reader.ranges([topic], None, None, {(topic, 0): 3})
    assert await values_of(reader, found) == ["a"]
    async with range_reader(connection, "read_uncommitted") as all_there_is:
        found = await all_there_is.ranges([topic], None, None, None)
        assert await values_of(all_there_is, found) == ["a", "b"]
    await transactional.abort_transaction()


# --- retention


async def test_what_retention_removed_is_counted(reader: RangeReader, producer: Any, topic: str, kafka: str) -> None:
    await send(producer, topic, *"abcde")
    await delete_records(kafka, {(topic, 0): 3})
    cases: list[tuple[module.Bound, list[Range]]] = [
        (None, [Range("", 0, 3, 5, lost_to_retention=3, begins_the_log=True)]),
        (0, [Range("", 0, 3, 5, lost_to_retention=3, begins_the_log=True)]),
        (2, [Range("", 0, 3, 5, lost_to_retention=1, begins_the_log=True)]),
        (3, [Range("", 0, 3, 5, begins_the_log=True)]),
        (4, [Range("", 0, 4, 5)]),
        (NOON, [Range("", 0, 3, 5, begins_the_log=True)]),
        (NOON + 4 * SECOND, [Range("", 0, 4, 5)]),
    ]
    found = [(start, await reader.ranges([topic], start, None, None)) for start, _ in cases]
    assert [(start, [_unnamed(one) for one in ranges]) for start, ranges in found] == cases


def _unnamed(one: Range) -> Range:
    return Range("", one.number, one.first, one.end, one.lost_to_retention, one.begins_the_log)


async def test_a_range_that_is_gone_has_nothing_to_be_read(
    reader: RangeReader, producer: Any, topic: str, kafka: str
) -> None:
    await send(producer, topic, *"abcde")
    await delete_records(kafka, {(topic, 0): 5})
    found = await reader.ranges([topic], 1, None, {(topic, 0): 4})
    assert found == [Range(topic, 0, 4, 4, lost_to_retention=3)]
    assert await values_of(reader, found) == []


async def test_what_is_removed_while_it_is_read_is_passed_over_and_told(
    reader: RangeReader, producer: Any, topic: str, kafka: str
) -> None:
    await send(producer, topic, *"abcde")
    found = await reader.ranges([topic], None, None, None)
    await delete_records(kafka, {(topic, 0): 3})
    told = []
    read = await values_of(reader, found, removed=lambda at, offsets: told.append((at, offsets)))
    assert (read, told) == (["d", "e"], [((topic, 0), 3)])


async def test_all_of_it_may_be_removed_while_it_is_read(
    reader: RangeReader, producer: Any, topic: str, kafka: str
) -> None:
    await send(producer, topic, *"abcde")
    found = await reader.ranges([topic], None, 4, None)
    await delete_records(kafka, {(topic, 0): 5})
    told = []
    read = await values_of(reader, found, removed=lambda at, offsets: told.append((at, offsets)))
    assert (read, told) == ([], [((topic, 0), 4)])


async def test_where_nobody_hears_of_what_is_removed_reading_stops(
    reader: RangeReader, producer: Any, topic: str, kafka: str
) -> None:
    await send(producer, topic, *"abcde")
    found = await reader.ranges([topic], None, None, None)
    await delete_records(kafka, {(topic, 0): 3})
    with pytest.raises(RangeStalled, match="/0: offset 0 is gone, the log begins at 3"):
        await values_of(reader, found)


# --- what is wanted, and what never comes


async def test_each_range_says_when_it_is_at_its_end(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, "a")
    await send(producer, topic, "x", partition=1)
    found = await reader.ranges([topic], None, None, None)
    told = []
    async with aclosing(reader.read(found)) as portions:
        async for one, records in portions:
            told.append((one.number, len(records)))
    assert sorted(told) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(told.index((number, 1)) < told.index((number, 0)) for number in (0, 1))


async def test_what_is_not_wanted_waits(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, "a")
    await send(producer, topic, "x", partition=1)
    found = await reader.ranges([topic], None, None, None)
    wanted = {(topic, 1)}
    read = []
    async with aclosing(reader.read(found, wanted=wanted.__contains__)) as portions:
        async for _, records in portions:
            read += [(r.value or b"").decode() for r in records]
            if not records:
                wanted.add((topic, 0))
    assert read == ["x", "a"]


async def test_nothing_wanted_is_no_stall(
    reader: RangeReader, producer: Any, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS_MAX", 0.3)
    await send(producer, topic, "a")
    found = await reader.ranges([topic], None, None, None)
    until = asyncio.get_running_loop().time() + 1

    def is_wanted(_: object) -> bool:
        if asyncio.get_running_loop().time() <= until:
            return False
        # From here on only the broker could be slow.
        monkeypatch.setattr(module, "IDLE_SECONDS_MAX", 60)
        return True

    assert await values_of(reader, found, wanted=is_wanted) == ["a"]


async def test_a_range_beyond_the_log_is_given_up(
    reader: RangeReader, producer: Any, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(producer, topic, "a")
    async with aclosing(reader.read([Range(topic, 0, 0, 5)])) as portions:
        await anext(portions)
        monkeypatch.setattr(module, "IDLE_SECONDS_MAX", 1)
        with pytest.raises(RangeStalled, match=r"nothing came for 1 s: .*/0 at 1$"):
            await anext(portions)


async def test_an_offset_that_was_never_there_is_told(reader: RangeReader, producer: Any, topic: str) -> None:
    await send(producer, topic, "a")
    with pytest.raises(RangeStalled, match="/0: offset 7 is gone, the log begins at 0"):
        await values_of(reader, [Range(topic, 0, 7, 9)], removed=lambda *_: None)

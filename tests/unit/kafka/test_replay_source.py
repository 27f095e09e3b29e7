"""A replay reads records in the order of the merge, whatever the order of the fetches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from credit_service import bounds
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.fetch.batches import BatchRecord
from credit_service.kafka.ranges.ranges import Range, RangeStalled
from credit_service.kafka.ranges.replay_source import KafkaRecords

if TYPE_CHECKING:
    from credit_service.application.record import Record

AT = datetime(2026, 1, 1, tzinfo=UTC)
CONNECTION = KafkaConnection("nowhere:1", "group", "x-")


def message(offset: int, second: int) -> BatchRecord:
    """An unreadable record, which is ordered by Kafka's timestamp."""
    at = AT + timedelta(seconds=second)
    return BatchRecord(offset, int(at.timestamp() * 1000), None, b"{", (), is_append_time=True)


def ranges(*ends: int, number: int = 0) -> list[Range]:
    return [Range(f"x-topic-{n}", number, 0, end) for n, end in enumerate(ends)]


Portion = tuple[Range, Sequence[Any]]


class Reader:
    """Gives portions in the order of the test."""

    def __init__(self, portions: Sequence[Portion], error: Exception | None = None) -> None:
        self.wanted: Any = None
        self.brought = 0
        self._portions = portions
        self._error = error

    async def read(self, _: Sequence[Range], wanted: Any, removed: Any) -> AsyncGenerator[Portion]:
        self.wanted = wanted
        removed(("x-topic-0", 0), 7)
        for one, records in self._portions:
            while not wanted(one.partition):  # noqa: ASYNC110 - as the reader does
                await asyncio.sleep(0)
            self.brought += len(records)
            yield one, records
        if self._error:
            raise self._error


def source(reader: Reader, asked: Sequence[Range]) -> KafkaRecords:
    return KafkaRecords(CONNECTION, cast("Any", reader), asked)


async def read_all(records: KafkaRecords, records_max: int = 100) -> list[list[int]]:
    """The seconds of each batch."""
    async with aclosing(records.batches(records_max)) as batches:
        return [seconds_of(batch) async for batch in batches]


def seconds_of(batch: Sequence[Record]) -> list[int]:
    return [(record.order[0] - AT) // timedelta(seconds=1) for record in batch]


async def test_what_comes_later_waits_for_what_may_be_earlier() -> None:
    late, early = ranges(2, 3)
    portions: list[Portion] = [
        (late, [message(0, 4), message(1, 9)]),
        (late, []),
        (early, [message(0, 1)]),
        (early, [message(1, 3), message(2, 6)]),
        (early, []),
    ]
    batches = await read_all(source(Reader(portions), [late, early]))
    assert [second for batch in batches for second in batch] == [1, 3, 4, 6, 9]


async def test_other_numbers_do_not_wait() -> None:
    (late,), (other,) = ranges(1), ranges(1, number=1)
    portions: list[Portion] = [(late, [message(0, 4)]), (late, [])]
    records = source(Reader(portions, RangeStalled("the other one")), [late, other])
    async with aclosing(records.batches(10)) as batches:
        assert seconds_of(await anext(batches)) == [4]
        with pytest.raises(RangeStalled, match="the other one"):
            await anext(batches)


async def test_a_range_may_end_with_nothing_in_it() -> None:
    markers, full = ranges(2, 1)
    portions: list[Portion] = [(full, [message(0, 4)]), (full, []), (markers, [])]
    assert await read_all(source(Reader(portions), [markers, full])) == [[4]]


async def test_batches_have_their_bound() -> None:
    (one,) = ranges(5)
    portions: list[Portion] = [(one, [message(n, n) for n in range(5)]), (one, [])]
    assert await read_all(source(Reader(portions), [one]), 2) == [[0, 1], [2, 3], [4]]


async def test_no_more_is_fetched_than_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REPLAY_BUFFERED_BYTES_MAX", 10_000)
    one, other = ranges(100, 1)
    portions: list[Portion] = [(one, [message(n, n)]) for n in range(100)]
    reader = Reader([*portions[:99], (other, [message(0, 50)]), (other, []), portions[99], (one, [])])
    records = source(reader, [one, other])
    # The other one is behind, so that nothing can be taken; what arrives of this one has its bound.
    reading = asyncio.create_task(read_all(records))
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert 0 < reader.brought < 10
    assert not reader.wanted(one.partition)
    assert reader.wanted(other.partition)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_what_is_removed_meanwhile_is_counted() -> None:
    (one,) = ranges(1)
    records = source(Reader([(one, [message(0, 1)]), (one, [])]), [one])
    await read_all(records)
    assert records.lost_to_retention == 7


async def test_nothing_at_all() -> None:
    assert await read_all(source(Reader([]), [Range("x-topic-0", 0, 3, 3, lost_to_retention=3)])) == []

"""The bytes that a broker sends of one partition are read piece by piece, up to the right offset."""

from __future__ import annotations

import hashlib
import inspect
import random
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from credit_service import bounds
from credit_service.kafka.fetch.fetched import CHECKSUM, Fetched
from credit_service.kafka.fetch.fetcher import LEADERS_REQUESTED_EVERY_SECONDS, PartitionFetcher
from credit_service.kafka.fetch.portions import Fault, Item, Portion, TooLargeBatch
from support.foreign.batches import CODECS, CONTROL, TRANSACTIONAL, RawRecord, batch_of, flipped

if TYPE_CHECKING:
    from collections.abc import Sequence

AT = TopicPartition("topic", 0)
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"
EVERYTHING = 1 << 30


def values(offset: int, count: int, **how: Any) -> bytes:
    """A batch whose values are their offsets."""
    return batch_of([RawRecord(b"%d" % at) for at in range(offset, offset + count)], base_offset=offset, **how)


def mark(offset: int, producer_id: int, kind: bytes) -> bytes:
    record = RawRecord(bytes(6), kind)
    return batch_of([record], base_offset=offset, producer_id=producer_id, attributes=CONTROL | TRANSACTIONAL)


def fetched(sent: bytes, *, offset: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> Fetched:
    return Fetched(memoryview(sent), aborted, offset, None)


def portions_of(of: Fetched, records_max: int = EVERYTHING, bytes_max: int = EVERYTHING) -> list[Portion]:
    """All portions; each begins at the offset at which the one before ended."""
    portions: list[Portion] = []
    is_all = False
    while not is_all:
        portion, is_all = of.take(AT, records_max, bytes_max)
        assert not portions or portion.begin == portions[-1].until
        portions.append(portion)
    return portions


def offsets(items: Sequence[Item]) -> list[int]:
    return [item.offset for item in items]


KINDS = st.sampled_from(["plain", "committed", "aborted", "compacted away", "half compacted"])


@st.composite
def logs(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]], list[int]]:
    """The bytes of some batches, the aborted transactions, and the offsets that have to be read."""
    sent, aborted, told, offset = b"", [], [], 0
    for producer_id, kind in enumerate(draw(st.lists(KINDS, min_size=1, max_size=8))):
        count, codec = draw(st.integers(1, 4)), draw(st.sampled_from(CODECS))
        there = list(range(offset, offset + count))
        if kind == "plain":
            sent += values(offset, count, codec=codec)
            told += there
        elif kind in {"committed", "aborted"}:
            sent += values(offset, count, codec=codec, producer_id=producer_id, attributes=TRANSACTIONAL)
            if kind == "aborted":
                aborted.append((producer_id, offset))
            else:
                told += there
            sent += mark(offset + count, producer_id, ABORT if kind == "aborted" else COMMIT)
            count += 1
        else:
            left = [] if kind == "compacted away" else there[::2]
            records = [RawRecord(b"%d" % at, offset_delta=at - offset) for at in left]
            packed = codec if records else "none"  # a broker compresses no empty batch
            sent += batch_of(records, codec=packed, base_offset=offset, last_offset_delta=count - 1)
            told += left
        offset += count
    return sent, aborted, told


@given(log=logs(), pieces=st.tuples(st.integers(1, 5), st.integers(1, 9)), rng=st.randoms(use_true_random=False))
def test_in_whatever_pieces_it_is_what_aiokafka_reads(
    log: tuple[bytes, list[tuple[int, int]], list[int]], pieces: tuple[int, int], rng: random.Random
) -> None:
    sent, aborted, told = log
    rng.shuffle(aborted)
    portions = portions_of(fetched(sent, aborted=aborted), *pieces)
    items = [item for portion in portions for item in portion.records]
    theirs = PartitionRecords(AT, MemoryRecords(sent), aborted, 0, None, None, True, READ_COMMITTED)
    assert [(i.offset, i.value) for i in items] == [(r.offset, r.value) for r in theirs]
    assert offsets(items) == told
    assert (portions[0].begin, portions[-1].until) == (0, theirs.next_fetch_offset)
    assert [portion.fault for portion in portions if portion.fault] == []
    assert all(len(portion.records) <= pieces[0] for portion in portions)


def test_what_lies_before_the_offset_is_not_handed_over() -> None:
    (portion,) = portions_of(fetched(values(0, 10, codec="gzip"), offset=4))
    assert (portion.begin, offsets(portion.records), portion.until) == (4, [4, 5, 6, 7, 8, 9], 10)


def test_a_batch_that_is_cut_off_is_left_for_the_next_fetch() -> None:
    (portion,) = portions_of(fetched(values(0, 2) + values(2, 3)[:-1]))
    assert (offsets(portion.records), portion.until, portion.fault) == ([0, 1], 2, None)


@pytest.mark.parametrize("codec", CODECS)
def test_what_lies_before_a_wrong_checksum_is_handed_over_and_the_place_is_told(codec: str) -> None:
    bad = values(3, 4, codec=codec)
    of = fetched(values(0, 3) + flipped(bad, len(bad) - 1) + values(7, 1))
    portion, is_all = of.take(AT, EVERYTHING, EVERYTHING)
    assert is_all
    assert (offsets(portion.records), portion.until) == ([0, 1, 2], 3)
    assert portion.fault == Fault(3, 7, CHECKSUM)


def test_a_codec_that_nobody_knows_is_told() -> None:
    (portion,) = portions_of(fetched(values(0, 3) + values(3, 2, attributes=7)))
    assert (portion.until, portion.fault) == (3, Fault(3, 5, "no codec has the number 7"))


def test_a_batch_that_holds_too_much_is_one_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BATCH_UNPACKED_BYTES_MAX", 100)
    large = batch_of([RawRecord(bytes(60)) for _ in range(3)], codec="zstd", base_offset=2, timestamp_ms=5)
    (portion,) = portions_of(fetched(values(0, 2) + large + values(5, 2)))
    assert offsets(portion.records) == [0, 1, 2, 5, 6]
    assert portion.records[2] == TooLargeBatch(2, 5, 5, large)
    assert portion.until == 7


def test_a_piece_ends_behind_the_record_that_fills_it() -> None:
    sent = batch_of([RawRecord(bytes(10), b"key", [(b"name", b"value")]) for _ in range(6)])
    assert [len(portion.records) for portion in portions_of(fetched(sent), bytes_max=2 * (10 + 3 + 9))] == [2, 2, 2, 0]


# What is replaced here, or is called by what is, as it was when that was written: see whether it still fits, then put
# in what the failing test shows.
KNOWN = {
    Fetcher.__init__: "bf21ecb7e0f210b7",
    Fetcher._fetch_requests_routine: "2a8ec5932644c9b0",
    Fetcher._get_actions_per_node: "1dab2cf937d165d0",
    Fetcher._proc_fetch_request: "59bf948fff47eed5",
    Fetcher._set_error: "d29810f3f509481f",
    Fetcher.fetched_records: "be4348896b9b66af",
    PartitionRecords: "94aa0da0dbec8d1b",
    AIOKafkaConsumer.getmany: "bc6d248e42a4e9d9",
}


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.__qualname__)
def test_aiokafkas_own_is_what_this_was_written_for(known: Any) -> None:
    digest = hashlib.sha256(inspect.getsource(known).encode()).hexdigest()[:16]
    assert (version("aiokafka"), digest) == ("0.14.0", KNOWN[known])


def test_leaders_are_asked_for_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A former defect: without a broker a thousand requests a second, which took half of a core."""
    now = 100.0
    monkeypatch.setattr("credit_service.kafka.fetch.fetcher.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(Fetcher, "_get_actions_per_node", lambda *_: ([], {}, 30.0, True, []))
    fetcher: Any = object.__new__(PartitionFetcher)
    fetcher._leaders_requested_at = 0.0

    def asks() -> tuple[bool, float]:
        _, _, seconds_max, is_asked, _ = fetcher._get_actions_per_node(None)
        return is_asked, seconds_max

    assert asks() == (True, 30.0)
    now += LEADERS_REQUESTED_EVERY_SECONDS / 2
    is_asked, seconds_max = asks()
    assert not is_asked
    assert seconds_max == pytest.approx(LEADERS_REQUESTED_EVERY_SECONDS / 2)
    now += LEADERS_REQUESTED_EVERY_SECONDS / 2 + 0.001
    assert asks() == (True, 30.0)

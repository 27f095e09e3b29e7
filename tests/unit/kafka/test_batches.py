"""Batches of every codec, and with every header name, are read; the others raise the reason."""

from __future__ import annotations

import os
import random
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_service.kafka.fetch.batches import BatchRecord, UnpacksToTooMuch, records_of, unpacked
from support.foreign.batches import CODECS, LOG_APPEND_TIME, RawRecord, batch_of, bomb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.foreign.batches import Codec

BOUND = 1 << 20
AT_MS = 1_700_000_000_000
PACKED = CODECS[1:]


def read(batch: bytes, first: int = 0, bytes_max: int = BOUND) -> list[BatchRecord]:
    return list(records_of(unpacked(memoryview(batch), bytes_max), first))


def told(records: Sequence[RawRecord], timestamp_ms: int = AT_MS) -> list[BatchRecord]:
    """The records that have to be read."""
    return [
        BatchRecord(nth, timestamp_ms, one.key, one.value, tuple((os.fsdecode(n), v) for n, v in one.headers))
        for nth, one in enumerate(records)
    ]


CONTENTS = st.none() | st.binary(max_size=200)
RECORDS = st.lists(
    st.builds(RawRecord, CONTENTS, CONTENTS, st.lists(st.tuples(st.binary(max_size=9), CONTENTS), max_size=3)),
    min_size=1,
    max_size=20,
)


@given(records=RECORDS, codec=st.sampled_from(CODECS), first=st.integers(0, 25))
def test_whatever_is_named_and_packed_is_read(records: list[RawRecord], codec: Codec, first: int) -> None:
    batch = batch_of(records, codec=codec, timestamp_ms=AT_MS)
    assert read(batch, first) == told(records)[first:]


@pytest.mark.parametrize("name", [b"name", b"\xff"])
def test_the_brokers_time_is_that_of_the_batch(name: bytes) -> None:
    batch = batch_of([RawRecord(b"v", None, [(name, b"")])], timestamp_ms=AT_MS, attributes=LOG_APPEND_TIME)
    assert [record.timestamp for record in read(batch)] == [AT_MS]


@pytest.mark.parametrize("codec", PACKED)
def test_a_small_batch_is_given_no_more_than_it_takes(codec: Codec) -> None:
    """A former defect: each batch filled the whole bound with zeros, which took 40 ms."""
    batch = memoryview(batch_of([RawRecord(b"v")], codec=codec))
    tracemalloc.start()
    try:
        unpacked(batch, 64 << 20)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20


@pytest.mark.parametrize("codec", PACKED)
def test_more_than_the_bound_is_not_unpacked(codec: Codec) -> None:
    records = [RawRecord(random.Random(1).randbytes(1_000))]
    size = len(batch_of(records)) - len(batch_of([RawRecord(b"")])) + 5
    for packed in (bomb(codec, 50_000_000), batch_of(records, codec=codec)):
        with pytest.raises(UnpacksToTooMuch):
            read(packed, bytes_max=size - 10)
    assert read(batch_of(records, codec=codec), bytes_max=size + 20)

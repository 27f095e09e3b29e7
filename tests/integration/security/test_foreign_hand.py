"""What others write into topics: it lies there as meant, and what the broker takes no longer, it refuses."""

from __future__ import annotations

import asyncio
import secrets
import struct
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import NewTopic

from support.foreign import kafka_python, librdkafka, old_formats
from support.foreign.batches import (
    CODECS,
    LOG_APPEND_TIME,
    RawRecord,
    batch_of,
    bomb,
    control_batch,
    flipped,
    with_right_checksum,
)
from support.foreign.wire import (
    CORRUPT_MESSAGE,
    INVALID_RECORD,
    INVALID_TIMESTAMP,
    Refused,
    append,
    lying_at,
)
from support.stack import in_a_loop_of_its_own
from support.topics import admin, make_topic, remove_topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credit_local_stack import Addresses

pytestmark = pytest.mark.xdist_group("foreign-hand")

ONE = RawRecord(b"value", b"key", [(b"name", b"content")])
_ATTRIBUTES = slice(21, 23)


@pytest.fixture(scope="module")
def topic(stack: Addresses) -> Iterator[str]:
    """One for all: each test writes behind what lies there, or into partitions of its own."""
    name = f"t{secrets.token_hex(4)}-foreign"
    in_a_loop_of_its_own(lambda: make_topic(stack.bootstrap_servers, name, partitions=12))
    yield name
    in_a_loop_of_its_own(lambda: remove_topics(stack.bootstrap_servers, [name]))


async def test_two_clients_write_each_codec(kafka: str, topic: str) -> None:
    for client, first in ((librdkafka, 0), (kafka_python, len(CODECS))):
        for number, codec in enumerate(CODECS, first):
            records: list[librdkafka.Sent] = [(topic, number, b"k", b"v" * 500, [("h", b"c")])] * 3
            await asyncio.to_thread(client.send, kafka, codec, records)
            (attributes,) = struct.unpack(">h", (await lying_at(kafka, topic, number, 0))[_ATTRIBUTES])
            assert CODECS[attributes & 7] == codec
            read = await asyncio.to_thread(librdkafka.read, kafka, topic, number, 3)
            assert [(m.key(), m.value(), m.headers()) for m in read] == [(b"k", b"v" * 500, [("h", b"c")])] * 3


async def test_a_transaction_that_is_open_or_aborted_is_not_read(kafka: str, topic: str) -> None:
    aborted: librdkafka.Sent = (topic, 10, None, b"aborted", [])
    await asyncio.to_thread(librdkafka.abort_transactions, kafka, f"{topic}-aborting", aborted, 5)
    await asyncio.to_thread(librdkafka.send, kafka, "none", [(topic, 10, None, b"after", [])])
    with librdkafka.open_transaction(kafka, f"{topic}-open", [(topic, 10, None, b"open", [])]):
        committed = await asyncio.to_thread(librdkafka.read, kafka, topic, 10, 1)
        everything = await asyncio.to_thread(librdkafka.read, kafka, topic, 10, 7, isolation="read_uncommitted")
    assert [m.value() for m in committed] == [b"after"]
    assert [m.value() for m in everything] == [*[b"aborted"] * 5, b"after", b"open"]


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(batch_of([RawRecord(b"v", b"\xff\xfe")]), id="a key that is not UTF-8"),
        pytest.param(batch_of([RawRecord(b"v", b"k", [(b"\xff\xfe", b"c")])]), id="a header name that is not UTF-8"),
        pytest.param(batch_of([RawRecord(b"v", b"k", [(b"", None)])]), id="a header without name and value"),
        pytest.param(batch_of([ONE], timestamp_ms=-1), id="no timestamp"),
        pytest.param(with_right_checksum(flipped(batch_of([ONE]), 70)), id="a byte flipped under a right checksum"),
        *[pytest.param(batch_of([ONE] * 3, codec=codec), id=codec) for codec in CODECS],
        *[pytest.param(bomb(codec, 20 * 2**20), id=f"a bomb of {codec}") for codec in CODECS[1:]],
    ],
)
async def test_a_broker_takes_it_and_keeps_it_byte_for_byte(kafka: str, topic: str, batch: bytes) -> None:
    """But for the base offset, and the leader's epoch."""
    at = await append(kafka, topic, 11, batch)
    lies = await lying_at(kafka, topic, 11, at)
    assert lies[8:12] + lies[16:] == batch[8:12] + batch[16:]


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        pytest.param(flipped(batch_of([ONE]), 70), CORRUPT_MESSAGE, id="a wrong checksum"),
        pytest.param(with_right_checksum(flipped(batch_of([ONE]), 61)), INVALID_RECORD, id="a length flipped"),
        pytest.param(batch_of([ONE], attributes=LOG_APPEND_TIME), INVALID_TIMESTAMP, id="log-append time by a client"),
        pytest.param(batch_of([ONE], timestamp_ms=253_402_300_799_999), INVALID_TIMESTAMP, id="a time far ahead"),
        pytest.param(control_batch(), INVALID_RECORD, id="a control batch"),
        pytest.param(batch_of([]), INVALID_RECORD, id="an empty batch"),
        pytest.param(
            batch_of([ONE, RawRecord(b"v", b"k", offset_delta=5)], codec="gzip"), INVALID_RECORD, id="gaps in offsets"
        ),
        pytest.param(batch_of([ONE], last_offset_delta=9), INVALID_RECORD, id="a gap at the end"),
        pytest.param(old_formats.message_set(0, b"value"), INVALID_RECORD, id="format v0"),
        pytest.param(old_formats.message_set(1, b"value"), INVALID_RECORD, id="format v1"),
    ],
)
async def test_a_broker_refuses_it(kafka: str, topic: str, batch: bytes, error: int) -> None:
    with pytest.raises(Refused) as refused:
        await append(kafka, topic, 11, batch)
    assert refused.value.error == error


async def test_a_topic_of_log_append_time_has_the_brokers_time(kafka: str, topic_prefix: str) -> None:
    name = f"{topic_prefix}log-append-time"
    made: Any = NewTopic(name, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
    async with admin(kafka) as client:
        await client.create_topics([made])
    await append(kafka, name, 0, batch_of([ONE], timestamp_ms=1))
    lies = await lying_at(kafka, name, 0, 0)
    (attributes,), (max_timestamp_ms,) = struct.unpack(">h", lies[_ATTRIBUTES]), struct.unpack(">q", lies[35:43])
    assert attributes & LOG_APPEND_TIME
    assert max_timestamp_ms > 1_700_000_000_000
    await remove_topics(kafka, [name])


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_bomb_is_small_until_it_is_unpacked(codec: str) -> None:
    """Snappy packs at most about twenty to one."""
    size_bytes = 20 * 2**20
    assert len(bomb(codec, size_bytes)) < size_bytes / (15 if codec == "snappy" else 200)

"""What the consumer hands out when polls fail, on an aiokafka that drains partitions and then forgets them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    GroupAuthorizationFailedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    UnsupportedCodecError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

from credit_service.kafka import consumer as consumer_module
from credit_service.kafka.consumer import HandOverConsumer, is_of_bytes
from support.foreign.batches import with_header_name, with_right_checksum

if TYPE_CHECKING:
    from collections.abc import Set

A, B, C = (TopicPartition("topic", number) for number in range(3))
RECORDS = 20
BAD_NAME = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


# Said by polls that have nothing else to say.
OF_NO_POSITION = (NoOffsetForPartitionError, OffsetOutOfRangeError)


class Fetched:
    """Stands in for aiokafka's fetcher: `faults` are raised where a partition stands at such an offset."""

    def __init__(self, faults: dict[tuple[TopicPartition, int], Exception]) -> None:
        self.faults = faults
        self.positions = dict.fromkeys((A, B, C), 0)
        self.is_paused: set[TopicPartition] = set()
        self.of_group: Exception | None = None

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        """Drains one partition after the other; what was drained is lost with the first one at fault."""
        del timeout_ms
        if self.of_group is not None:
            raise self.of_group
        drained: dict[TopicPartition, list[Any]] = {}
        for at in partitions or self.positions:
            while at not in self.is_paused and self.positions[at] < RECORDS and max_records:
                if fault := self.faults.get((at, self.positions[at])):
                    if isinstance(fault, OF_NO_POSITION) and drained:
                        return drained
                    if at in drained:
                        self.positions[at] -= len(drained[at])  # aiokafka moves it behind the whole of a partition
                    raise fault
                drained.setdefault(at, []).append(_record(at, self.positions[at]))
                self.positions[at] += 1
                max_records -= 1
        return drained


def _record(at: TopicPartition, offset: int) -> Any:
    return ConsumerRecord(at.topic, at.partition, offset, 0, 0, b"", b"", None, 0, 0, ())


class Told:
    """What the consumer says of faults."""

    def __init__(self) -> None:
        self.unreadable: list[tuple[TopicPartition, int, Exception]] = []
        self.others: Counter[str] = Counter()

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        del partitions
        self.others["out of range"] += 1

    def note_broken(self, error: KafkaError) -> None:
        del error
        self.others["broken"] += 1

    def note_failed_poll(self, error: Exception) -> None:
        del error
        self.others["failed"] += 1

    def note_unreadable(self, partition: TopicPartition, offset: int, error: Exception) -> None:
        self.unreadable.append((partition, offset, error))


def opened(
    monkeypatch: pytest.MonkeyPatch, told: Told, faults: dict[tuple[TopicPartition, int], Exception]
) -> tuple[HandOverConsumer, Fetched]:
    """A consumer whose three partitions are open at their beginnings."""
    fetched = Fetched(faults)

    async def getmany(_: Any, *partitions: TopicPartition, **how: int) -> dict[Any, Any]:
        return await fetched.getmany(*partitions, **how)

    def seek(_: Any, partition: TopicPartition, offset: int) -> None:
        fetched.positions[partition] = offset

    monkeypatch.setattr(AIOKafkaConsumer, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(AIOKafkaConsumer, "__del__", lambda _: None)
    monkeypatch.setattr(AIOKafkaConsumer, "getmany", getmany)
    monkeypatch.setattr(AIOKafkaConsumer, "seek", seek)
    monkeypatch.setattr(AIOKafkaConsumer, "assignment", lambda _: {A, B, C})
    monkeypatch.setattr(AIOKafkaConsumer, "paused", lambda _: set(fetched.is_paused))
    monkeypatch.setattr(AIOKafkaConsumer, "pause", lambda _, *partitions: fetched.is_paused.update(partitions))
    monkeypatch.setattr(consumer_module, "FAULT_WAIT_SECONDS", 0)
    consumer = HandOverConsumer(faults=told)
    for partition in (A, B, C):
        consumer.open(partition, 0)
    return consumer, fetched


async def handed_out(consumer: HandOverConsumer, polls: int = 60) -> dict[TopicPartition, list[int]]:
    """The offsets that came of each partition, in so many polls."""
    came: dict[TopicPartition, list[int]] = {A: [], B: [], C: []}
    for _ in range(polls):
        for partition, records in (await consumer.getmany(timeout_ms=1, max_records=7)).items():
            came[partition] += [record.offset for record in records]
    return came


ALL = list(range(RECORDS))


@pytest.mark.parametrize("at", [A, B, C])
@pytest.mark.parametrize("offset", [0, 3, 19])
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BAD_NAME, id="a name that is not UTF-8"),
        pytest.param(CorruptRecordException("CRC"), id="a checksum"),
        pytest.param(UnsupportedCodecError("codec 7"), id="a codec"),
        pytest.param(RecordTooLargeError("too large"), id="half a batch"),
        pytest.param(MemoryError(), id="no memory"),
        pytest.param(RuntimeError("whatever"), id="anything"),
    ],
)
async def test_the_partition_at_fault_is_held_and_nothing_else_is_lost(
    monkeypatch: pytest.MonkeyPatch, at: TopicPartition, offset: int, error: Exception
) -> None:
    told = Told()
    consumer, _ = opened(monkeypatch, told, {(at, offset): error})
    assert await handed_out(consumer) == {A: ALL, B: ALL, C: ALL} | {at: ALL[:offset]}
    assert told.unreadable == [(at, offset, error)]
    assert told.others == {"failed": 1}
    assert not consumer.has_handed_out(at, offset)


async def test_two_at_fault_are_both_held(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    consumer, _ = opened(monkeypatch, told, {(A, 5): BAD_NAME, (C, 0): CorruptRecordException("CRC")})
    assert await handed_out(consumer) == {A: ALL[:5], B: ALL, C: []}
    assert {partition for partition, *_ in told.unreadable} == {A, C}


async def test_a_fault_that_does_not_come_again_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    consumer, fetched = opened(monkeypatch, told, {(B, 9): BAD_NAME})
    came = await handed_out(consumer, polls=1)
    assert came[B] == []
    while not told.others:
        for partition, offsets in (await handed_out(consumer, polls=1)).items():
            came[partition] += offsets
    fetched.faults = {}
    for partition, offsets in (await handed_out(consumer)).items():
        came[partition] += offsets
    assert came == {A: ALL, B: ALL, C: ALL}
    assert told.unreadable == []


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        pytest.param(OffsetOutOfRangeError({B: 4}), {"out of range"}, id="out of range"),
        pytest.param(NoOffsetForPartitionError(B), set(), id="not opened yet"),
        pytest.param(GroupAuthorizationFailedError("group"), {"broken"}, id="the group"),
        pytest.param(KafkaError("whatever"), {"broken"}, id="the client"),
    ],
)
@pytest.mark.parametrize("is_stepwise", [False, True])
async def test_what_is_of_no_bytes_holds_nothing_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_told: set[str], is_stepwise: bool
) -> None:
    told = Told()
    consumer, fetched = opened(monkeypatch, told, {(B, 4): error})
    if is_stepwise:
        consumer.go_stepwise()
    came = await handed_out(consumer)
    fetched.faults = {}
    for partition, offsets in (await handed_out(consumer)).items():
        came[partition] += offsets
    assert came == {A: ALL, B: ALL, C: ALL}
    assert told.unreadable == []
    assert set(told.others) == is_told


def unpacked(batch: bytes) -> PartitionRecords:
    """As aiokafka itself unpacks a batch."""
    return PartitionRecords(A, MemoryRecords(batch), [], 0, None, None, True, READ_COMMITTED)


def of_a_control_batch() -> bytes:
    """One without its marker, as a topic that is compacted may keep it."""
    built = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=1,
        producer_id=1,
        producer_epoch=0,
        base_sequence=0,
        batch_size=2**20,
    ).build()
    batch = bytearray(built)
    batch[22] |= 0x20
    return with_right_checksum(bytes(batch))


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        pytest.param(of_a_control_batch(), KafkaError, id="a control batch without its marker"),
        pytest.param(with_header_name(b"\xff", b"", [], b""), UnicodeDecodeError, id="a name that is not UTF-8"),
        pytest.param(with_header_name(b"name", b"", [], b"")[:-1] + b"\xff", CorruptRecordException, id="a checksum"),
    ],
)
def test_what_aiokafka_says_of_bytes_is_taken_for_that(batch: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        list(unpacked(batch))
    assert type(caught.value) is kind
    assert is_of_bytes(caught.value)


async def test_an_error_of_the_group_is_of_no_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    consumer, fetched = opened(monkeypatch, told, {})
    consumer.go_stepwise()
    fetched.of_group = GroupAuthorizationFailedError("group")
    await handed_out(consumer, polls=2)
    assert (told.unreadable, set(told.others)) == ([], {"broken"})


async def test_a_consumer_that_was_stopped_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, fetched = opened(monkeypatch, Told(), {})
    fetched.of_group = ConsumerStoppedError()
    for _ in range(2):
        with pytest.raises(ConsumerStoppedError):
            await consumer.getmany(max_records=7)
        consumer.go_stepwise()

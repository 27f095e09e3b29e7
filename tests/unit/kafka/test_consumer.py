"""The records that the consumer hands out, and the faults that it reports."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    KafkaError,
    NoOffsetForPartitionError,
)

from credit_service.kafka.consume import consumer as consumer_module
from credit_service.kafka.consume.consumer import HandOverConsumer
from credit_service.kafka.consume.open_transactions import Ends
from credit_service.kafka.fetch.batches import BatchRecord
from credit_service.kafka.fetch.portion_consumer import PortionConsumer
from credit_service.kafka.fetch.portions import Fault, OutOfRange, Portion

if TYPE_CHECKING:
    from collections.abc import Set

A, B = (TopicPartition("topic", number) for number in range(2))
FAULT = Fault(3, 5, "its checksum is wrong")


class Told:
    """Notes the reported faults."""

    def __init__(self) -> None:
        self.unreadable: list[tuple[TopicPartition, Fault]] = []
        self.out_of_range: set[TopicPartition] = set()
        self.others: Counter[str] = Counter()

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        self.out_of_range |= partitions

    def note_broken(self, error: KafkaError) -> None:
        self.others[type(error).__name__] += 1

    def note_unreadable(self, partition: TopicPartition, fault: Fault) -> None:
        self.unreadable.append((partition, fault))


class Polls:
    """Stands in for the fetcher: gives the next poll, or raises its exception."""

    def __init__(self) -> None:
        self.told = Told()
        self.bring: list[list[Portion] | Exception] = []
        self.is_paused: set[TopicPartition] = set()

    async def portions(self, *_: Any, **__: Any) -> list[Portion]:
        brought = self.bring.pop(0) if self.bring else []
        if isinstance(brought, Exception):
            raise brought
        return brought


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Polls:
    polls = Polls()

    async def portions(_: Any, *partitions: TopicPartition, **how: Any) -> list[Portion]:
        return await polls.portions(*partitions, **how)

    monkeypatch.setattr(AIOKafkaConsumer, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(AIOKafkaConsumer, "__del__", lambda _: None)
    monkeypatch.setattr(AIOKafkaConsumer, "seek", lambda *_: None)
    monkeypatch.setattr(AIOKafkaConsumer, "pause", lambda _, *partitions: polls.is_paused.update(partitions))
    monkeypatch.setattr(PortionConsumer, "portions", portions)
    monkeypatch.setattr(consumer_module, "FAULT_WAIT_SECONDS", 0)
    return polls


@pytest.fixture
def consumer(polls: Polls) -> HandOverConsumer:
    """A consumer with two partitions, open at their beginnings."""
    consumer = HandOverConsumer(faults=polls.told)
    consumer.open(A, 0)
    consumer.open(B, 0)
    return consumer


def of(partition: TopicPartition, begin: int, until: int, **how: Any) -> Portion:
    records: Any = [BatchRecord(offset, 0, None, b"", ()) for offset in range(begin, until)]
    return Portion(partition, begin, until, records, **how)


async def test_it_hands_over_what_came_and_knows_how_far(polls: Polls, consumer: HandOverConsumer) -> None:
    first, second, marks = of(A, 0, 3), of(B, 0, 1), Portion(A, 3, 5)
    polls.bring = [[first, second], [marks]]
    assert await consumer.getmany() == {A: [first], B: [second]}
    assert await consumer.getmany() == {A: [marks]}
    assert [consumer.has_handed_out(A, offset) for offset in (3, 5)] == [False, True]


async def test_of_a_partition_that_is_not_open_nothing_is_handed_over(polls: Polls, consumer: HandOverConsumer) -> None:
    consumer.close_partitions([A])
    polls.bring = [[of(A, 0, 3, fault=FAULT), of(B, 0, 1)]]
    assert [*await consumer.getmany()] == [B]
    assert (polls.told.unreadable, polls.is_paused) == ([], set())


async def test_a_partition_at_fault_is_paused_and_told_of(polls: Polls, consumer: HandOverConsumer) -> None:
    before = of(A, 0, 3, fault=FAULT)
    polls.bring = [[before, of(B, 0, 1)]]
    assert await consumer.getmany() == {A: [before], B: [of(B, 0, 1)]}
    assert (polls.told.unreadable, polls.is_paused) == ([(A, FAULT)], {A})
    assert not consumer.has_handed_out(A, 3)
    assert consumer.has_handed_out(B, 1)


async def test_a_fault_with_nothing_before_it_hands_over_nothing(polls: Polls, consumer: HandOverConsumer) -> None:
    polls.bring = [[Portion(A, 0, 0, fault=Fault(0, 5, "why"))]]
    assert await consumer.getmany() == {}
    assert polls.told.unreadable == [(A, Fault(0, 5, "why"))]


async def test_a_log_that_lacks_what_comes_next_is_told_of_and_asked_no_more(
    polls: Polls, consumer: HandOverConsumer
) -> None:
    polls.bring = [[Portion(A, 0, 0, fault=OutOfRange())]]
    assert await consumer.getmany() == {}
    assert (polls.told.out_of_range, polls.is_paused, polls.told.unreadable) == ({A}, {A}, [])


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        pytest.param(NoOffsetForPartitionError(B), {}, id="not opened yet"),
        pytest.param(GroupAuthorizationFailedError("group"), {"GroupAuthorizationFailedError": 1}, id="the group"),
        pytest.param(KafkaError("whatever"), {"KafkaError": 1}, id="the client"),
        pytest.param(RuntimeError("a defect"), {}, id="a defect"),
    ],
)
async def test_no_poll_raises(
    polls: Polls, consumer: HandOverConsumer, error: Exception, is_told: dict[str, int]
) -> None:
    polls.bring = [error, [of(A, 0, 3)]]
    assert await consumer.getmany() == {}
    assert polls.told.others == is_told
    assert [*await consumer.getmany()] == [A]


async def test_a_consumer_that_was_stopped_says_so(polls: Polls, consumer: HandOverConsumer) -> None:
    polls.bring = [ConsumerStoppedError()]
    with pytest.raises(ConsumerStoppedError):
        await consumer.getmany()


@pytest.mark.parametrize(
    ("position", "is_read", "is_read_of_what_is_committed"),
    [pytest.param(7, True, True, id="past marks"), (5, False, True), (4, False, False)],
)
async def test_while_a_transaction_is_open_its_partition_is_read_to_its_end_only_for_who_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
    consumer: HandOverConsumer,
    position: int,
    is_read: bool,
    is_read_of_what_is_committed: bool,
) -> None:
    async def position_of(*_: Any) -> int:
        return position

    monkeypatch.setattr(AIOKafkaConsumer, "assignment", lambda _: {A})
    monkeypatch.setattr(AIOKafkaConsumer, "last_poll_timestamp", lambda *_: int(time.time() * 1000))
    monkeypatch.setattr(AIOKafkaConsumer, "last_stable_offset", lambda *_: 5)
    monkeypatch.setattr(AIOKafkaConsumer, "highwater", lambda *_: 7)
    monkeypatch.setattr(AIOKafkaConsumer, "position", position_of)
    assert consumer.ends(A) == Ends(5, 7)
    assert consumer.ends(B) is None
    assert await consumer.is_read_to_its_end(A, 5) is is_read
    assert await consumer.is_read_to_its_end(A, 5, waits_for_transactions=False) is is_read_of_what_is_committed

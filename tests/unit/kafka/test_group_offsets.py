"""Commits of Kafka's offsets that are slow, fail, or are cancelled, without a broker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from credit_service.kafka.consume.group_offsets import GroupOffsets
from support.wait import eventually

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class Consumer:
    """Notes committed offsets, once commits may end; the last request wins."""

    def __init__(self) -> None:
        self.asked: list[dict[Any, int]] = []
        self.committed: dict[Any, int] = {}
        self.lets = asyncio.Event()
        self.lets.set()
        self.refuses = False

    async def commit(self, offsets: dict[Any, int]) -> None:
        self.asked.append(dict(offsets))
        await self.lets.wait()
        if self.refuses:
            raise KafkaTimeoutError
        self.committed.update(offsets)


@pytest.fixture
def positions() -> dict[Any, int]:
    return {ZERO: 1, ONE: 1}


@pytest.fixture
def offsets(positions: dict[Any, int], monkeypatch: pytest.MonkeyPatch) -> GroupOffsets:
    monkeypatch.setattr("credit_service.kafka.consume.group_offsets.COMMIT_EVERY_SECONDS", 0.01)
    monkeypatch.setattr("credit_service.kafka.consume.group_offsets.COMMIT_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("credit_service.kafka.consume.group_offsets.COMMIT_SECONDS_MAX", 60)
    return GroupOffsets(positions)


async def test_one_that_is_slow_is_not_overtaken_by_the_next(offsets: GroupOffsets, positions: dict[Any, int]) -> None:
    consumer = Consumer()
    consumer.lets.clear()
    offsets.note_moved([ZERO])
    slow = asyncio.create_task(offsets.commit(consumer))
    await eventually(lambda: consumer.asked)
    positions[ZERO] = 2
    offsets.note_moved([ZERO])
    second = asyncio.create_task(offsets.commit(consumer))
    for _ in range(5):
        await asyncio.sleep(0)
    assert consumer.asked == [{ZERO: 1}]
    consumer.lets.set()
    assert await slow
    assert await second
    assert consumer.asked == [{ZERO: 1}, {ZERO: 2}]
    assert consumer.committed == {ZERO: 2}


async def test_one_that_failed_is_tried_again_with_what_is_due_then(
    offsets: GroupOffsets, positions: dict[Any, int]
) -> None:
    consumer = Consumer()
    consumer.refuses = True
    offsets.note_moved([ZERO, ONE])
    keeping_up = asyncio.create_task(offsets.keep_up(lambda: consumer))
    try:
        await eventually(lambda: len(consumer.asked) > 1)
        assert offsets.failing_seconds > 0
        positions[ZERO] = 5
        del positions[ONE]  # assigned to another member
        consumer.refuses = False
        await eventually(lambda: consumer.committed)
        assert consumer.committed == {ZERO: 5}
        assert offsets.failing_seconds == 0
    finally:
        keeping_up.cancel()
        await asyncio.gather(keeping_up, return_exceptions=True)


async def test_one_that_does_not_end_is_given_up_and_tried_again(
    offsets: GroupOffsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_service.kafka.consume.group_offsets.COMMIT_SECONDS_MAX", 0.01)
    consumer = Consumer()
    consumer.lets.clear()
    offsets.note_moved([ZERO])
    assert not await offsets.commit(consumer)
    consumer.lets.set()
    assert await offsets.commit(consumer)
    assert consumer.committed == {ZERO: 1}


async def test_what_was_given_up_at_the_end_is_committed_by_whoever_leaves(offsets: GroupOffsets) -> None:
    consumer = Consumer()
    consumer.lets.clear()
    offsets.note_moved([ZERO])
    keeping_up = asyncio.create_task(offsets.keep_up(lambda: consumer))
    await eventually(lambda: consumer.asked)
    keeping_up.cancel()
    await asyncio.gather(keeping_up, return_exceptions=True)
    consumer.lets.set()
    assert await offsets.commit(consumer)
    assert consumer.committed == {ZERO: 1}


async def test_while_out_of_the_group_nothing_is_committed_and_what_is_new_is_forgotten(
    offsets: GroupOffsets,
) -> None:
    consumer = Consumer()
    offsets.note_moved([ZERO])
    offsets.begin_anew()
    assert await offsets.commit(consumer)
    assert consumer.asked == []


async def test_who_has_nothing_left_to_commit_fails_no_more(offsets: GroupOffsets, positions: dict[Any, int]) -> None:
    consumer = Consumer()
    consumer.refuses = True
    offsets.note_moved([ZERO])
    assert not await offsets.commit(consumer)
    assert offsets.failing_seconds > 0
    positions.clear()  # assigned to other members
    assert await offsets.commit(consumer)
    assert offsets.failing_seconds == 0

"""Partitions that cannot be read are reported, and retried."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from credit_service.application.readiness import Status
from credit_service.kafka.consume import held_partitions as held_module
from credit_service.kafka.consume.held_partitions import HeldPartitions
from credit_service.kafka.fetch.portions import Fault


def partition(number: int) -> TopicPartition:
    return TopicPartition("email-bounced", number)


def fault(offset: int = 3) -> Fault:
    return Fault(offset, None, "its checksum is wrong")


def test_each_is_named_with_its_place_and_the_cause() -> None:
    status = Status({})
    held = HeldPartitions(status)
    held.note(partition(1), fault(7))
    held.note(partition(0), fault(3))
    assert status.degraded == {
        "held": "partitions are held, they cannot be read: email-bounced/0 at offset 3 (its checksum is wrong),"
        " email-bounced/1 at offset 7 (its checksum is wrong)"
    }
    held.release(partition(1))
    assert status.degraded["held"].endswith("cannot be read: email-bounced/0 at offset 3 (its checksum is wrong)")
    held.forget([partition(0), partition(5)])
    assert status.degraded == {}


def test_of_many_some_are_named() -> None:
    status = Status({})
    held = HeldPartitions(status)
    for number in range(9):
        held.note(partition(number), fault())
    assert status.degraded["held"].count("at offset") == 5
    assert status.degraded["held"].endswith(" and 4 more")


def test_one_is_tried_again_after_a_while_once_it_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("credit_service.kafka.consume.held_partitions.time.monotonic", lambda: now[0])
    held = HeldPartitions(Status({}))
    held.note(partition(0), fault())
    ((_, one),) = held.items()
    now[0] += held_module.RETRY_SECONDS
    assert not one.is_due
    assert held.draining() == {partition(0)}
    one.state = "out"
    assert one.is_due
    # Opened again, its buffer may become full, and it has to be fetched from later.
    one.state = "tried"
    assert held.draining() == set()
    held.note(partition(0), fault())
    ((_, one),) = held.items()
    one.state = "out"
    assert not one.is_due

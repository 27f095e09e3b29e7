"""What is said of partitions that cannot be read, and of polls that fail."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException

from credit_service.kafka import held as held_module
from credit_service.kafka.held import FailedPolls, HeldPartitions
from credit_service.kafka.status import Status

ERROR = CorruptRecordException("with words of its own")


def partition(number: int) -> TopicPartition:
    return TopicPartition("email-bounced", number)


def test_each_is_named_with_its_place_and_the_kind_of_error() -> None:
    status = Status({})
    held = HeldPartitions(status)
    held.note(partition(1), 7, ERROR)
    held.note(partition(0), 3, ERROR)
    assert status.degraded == {
        "held": "partitions are held, they cannot be read: email-bounced/0 at offset 3 (CorruptRecordException),"
        " email-bounced/1 at offset 7 (CorruptRecordException)"
    }
    held.read_again(partition(1))
    assert status.degraded["held"].endswith("cannot be read: email-bounced/0 at offset 3 (CorruptRecordException)")
    held.forget([partition(0), partition(5)])
    assert status.degraded == {}


def test_of_many_some_are_named() -> None:
    status = Status({})
    held = HeldPartitions(status)
    for number in range(9):
        held.note(partition(number), 0, ERROR)
    assert status.degraded["held"].count("at offset") == 5
    assert status.degraded["held"].endswith(" and 4 more")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("credit_service.kafka.held.time.monotonic", lambda: now[0])
    return now


def test_one_is_tried_again_after_a_while_once_it_is_out(clock: list[float]) -> None:
    held = HeldPartitions(Status({}))
    held.note(partition(0), 3, ERROR)
    ((_, one),) = held.items()
    clock[0] += held_module.RETRY_SECONDS
    assert not one.is_due
    assert held.standing() == {partition(0)}
    one.state = "out"
    assert one.is_due
    # Read once more, it may become full, and has to be fetched from again.
    one.state = "tried"
    assert held.standing() == set()
    held.note(partition(0), 3, ERROR)
    ((_, one),) = held.items()
    one.state = "out"
    assert not one.is_due


def test_polls_that_fail_again_and_again_are_a_problem_until_they_do_not(clock: list[float]) -> None:
    polls = FailedPolls()
    assert polls.problem() is None
    polls.note(ERROR)
    assert polls.problem() is None
    clock[0] += 1
    polls.note(RuntimeError("with words of its own"))
    assert polls.problem() == "reading from Kafka fails again and again: RuntimeError"
    clock[0] += held_module.REPEAT_SECONDS
    assert polls.problem() is None
    polls.note(ERROR)
    assert polls.problem() is None

"""A library's repeated line is written at intervals, with the number of withheld ones."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

import pytest
from aiokafka.conn import AIOKafkaConnection

from credit_service import bounds
from credit_service.runtime.log_repeats import ONCE, SECONDS_BETWEEN, RepeatFilter

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repeats(clock: Clock) -> RepeatFilter:
    return RepeatFilter(clock)


def line(name: str = "aiokafka", node: int = 1) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, "Unable connect to node with id %s", (node,), None)


def test_the_first_is_written_and_the_next_is_not(repeats: RepeatFilter) -> None:
    first = line()
    assert repeats.filter(first)
    assert not hasattr(first, "repeated")
    assert not repeats.filter(line())


def test_after_a_while_it_is_written_with_how_many_were_not(repeats: RepeatFilter, clock: Clock) -> None:
    for _ in range(1 + 7):
        repeats.filter(line())
    clock.now += SECONDS_BETWEEN
    again = line()
    assert repeats.filter(again)
    assert again.repeated == 7  # type: ignore[attr-defined] # set by the filter
    clock.now += SECONDS_BETWEEN
    alone = line()
    assert repeats.filter(alone)
    assert not hasattr(alone, "repeated")


def test_one_that_goes_on_is_not_put_off_for_ever(repeats: RepeatFilter, clock: Clock) -> None:
    written = 0
    for _ in range(100):
        written += repeats.filter(line())
        clock.now += 1
    assert written == 100 / SECONDS_BETWEEN


def test_what_is_so_as_long_as_the_settings_are_is_written_once(repeats: RepeatFilter, clock: Clock) -> None:
    (said,) = ONCE
    written = 0
    for _ in range(5):
        written += repeats.filter(logging.LogRecord("aiokafka.conn", logging.WARNING, "", 0, said, (), None))
        clock.now += 10 * SECONDS_BETWEEN
    assert written == 1


def test_aiokafka_says_it_so() -> None:
    assert all(said in inspect.getsource(AIOKafkaConnection) for said in ONCE)


def test_another_saying_is_another(repeats: RepeatFilter) -> None:
    assert all(repeats.filter(other) for other in (line(), line(node=2), line("aiokafka.consumer")))


def defect(error: Exception, raised_by: Callable[[Exception], None]) -> logging.LogRecord:
    try:
        raised_by(error)
    except Exception as raised:
        info = (type(raised), raised, raised.__traceback__)
        return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in ASGI application\n", None, info)
    raise AssertionError("nothing was raised")


def reads(error: Exception) -> None:
    raise error


def lists(error: Exception) -> None:
    raise error


def explains(error: Exception) -> None:
    try:
        raise error
    except Exception as cause:
        raise KeyError from cause


def test_another_defect_in_the_same_words_is_another(repeats: RepeatFilter) -> None:
    """Its traceback is all that there is of it."""
    again = KeyError()
    assert repeats.filter(defect(again, reads))
    assert repeats.filter(defect(KeyError(), lists))
    assert repeats.filter(defect(ValueError(), reads))
    assert repeats.filter(defect(ValueError(), explains))
    assert repeats.filter(defect(TypeError(), explains))
    assert not repeats.filter(defect(KeyError("of another request"), reads))
    assert not repeats.filter(defect(again, reads))  # its traceback is longer now
    assert not repeats.filter(defect(TypeError(), explains))


@pytest.mark.parametrize("words", ["%s of %d", object()])
def test_a_librarys_call_that_is_wrong_is_no_error_in_the_library(words: object, repeats: RepeatFilter) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise ValueError

    def wrong() -> logging.LogRecord:
        return logging.LogRecord("aiokafka", logging.ERROR, "", 0, words, (Unspeakable(),), None)

    assert repeats.filter(wrong())
    assert not repeats.filter(wrong())


def test_the_services_own_are_all_written(repeats: RepeatFilter) -> None:
    assert all(repeats.filter(line("credit_service.kafka.consume.intake")) for _ in range(3))
    assert repeats.filter(line("credit_services"))
    assert not repeats.filter(line("credit_services"))


def test_the_memory_is_bounded(repeats: RepeatFilter) -> None:
    assert all(repeats.filter(line(node=n)) for n in range(bounds.LOG_LINES_KEPT_MAX + 1))
    assert not repeats.filter(line(node=bounds.LOG_LINES_KEPT_MAX))
    assert repeats.filter(line(node=0))  # forgotten

"""When a member without progress ends: the rule, and its use."""

from __future__ import annotations

import asyncio
import faulthandler
import subprocess
import sys
from dataclasses import replace
from unittest.mock import Mock, call

import pytest

from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.application.health_ports import Backlog, LaneProgress
from credit_service.application.readiness import Status
from credit_service.watch.loop_guard import guarded
from credit_service.watch.watch import Watch
from credit_service.watch.watchdog import Observation, Watchdog
from support.patience import patience
from support.wait import eventually

IDLE = Observation(at=0.0, decided_at=0.0, waits=False, is_excused=False)
WAITS = replace(IDLE, waits=True)
NOTHING = Backlog(0, 0.0, 0, 0, 0, 0, 0, 0)


def after(*looks: Observation) -> tuple[float, float]:
    dog = Watchdog(interval_seconds_max=10)
    for look in looks:
        dog.observe(look)
    return dog.waited_seconds, dog.failed_seconds


def test_what_waits_and_is_not_decided_fails() -> None:
    assert after(*(replace(WAITS, at=at) for at in (0, 5, 10, 15))) == (15, 15)


def test_who_has_nothing_to_do_does_not_fail() -> None:
    assert after(*(replace(IDLE, at=at) for at in (0, 5, 10))) == (0, 0)


def test_one_decision_is_enough() -> None:
    assert after(WAITS, replace(WAITS, at=5), replace(WAITS, at=10, decided_at=7)) == (0, 0)


def test_a_queue_that_is_empty_for_a_moment_begins_anew() -> None:
    assert after(WAITS, replace(WAITS, at=5), replace(IDLE, at=10), replace(WAITS, at=15)) == (0, 0)


def test_an_excuse_is_waited_out_and_does_not_fail() -> None:
    assert after(WAITS, *(replace(WAITS, at=at, is_excused=True) for at in (5, 10, 15))) == (15, 0)


def test_a_database_that_comes_and_goes_excuses_only_the_time_it_is_away() -> None:
    looks = [replace(WAITS, at=at, is_excused=at % 10 == 0) for at in range(5, 45, 5)]
    assert after(WAITS, *looks) == (40, 20)


def test_a_process_that_was_frozen_did_not_fail_meanwhile() -> None:
    assert after(WAITS, replace(WAITS, at=5), replace(WAITS, at=3605)) == (15, 15)


class Parts:
    """Stands in for the ledger and the intake."""

    def __init__(self) -> None:
        self.ledger_is_away: Exception | None = None
        self.readers_are_out: Exception | None = None
        self.schema: str | None = None
        self.now = NOTHING
        self.counting: Exception | None = None
        self.lane = LaneProgress(waits=False, decided_at=0.0)
        self.kafka: str | None = None

    async def backlog(self) -> Backlog:
        if self.counting:
            raise self.counting
        return self.now

    async def ping(self) -> None:
        if self.readers_are_out:
            raise self.readers_are_out

    async def schema_problem(self) -> str | None:
        if self.ledger_is_away:
            raise self.ledger_is_away
        return self.schema

    async def measure_lag(self) -> None:
        pass

    def lanes(self) -> dict[str, LaneProgress]:
        return {"lane 0": LaneProgress(waits=False, decided_at=0.0), "lane 1": self.lane}

    async def excuse(self) -> str | None:
        return self.kafka


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def status() -> Status:
    return Status({})


@pytest.fixture
def watch(parts: Parts, status: Status, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """The checks, ten seconds apart."""
    moments = iter(range(0, 10_000, 10))
    monkeypatch.setattr("credit_service.watch.watch.time.monotonic", lambda: float(next(moments)))
    return Watch(parts, parts, parts, status, stuck_seconds_max=60)


async def looks(watch: Watch, count: int) -> list[bool]:
    return [await watch.look() for _ in range(count)]


async def test_the_service_is_stuck_once_one_lane_has_failed_for_long_enough(
    watch: Watch, parts: Parts, status: Status
) -> None:
    parts.lane = LaneProgress(waits=True, decided_at=0.0)
    assert await looks(watch, 6) == [False] * 6
    assert status.problems == {"progress": "messages wait, and none was decided for more than 6 s"}
    assert await looks(watch, 1) == [True]

    parts.lane = LaneProgress(waits=True, decided_at=99.0)
    assert await looks(watch, 1) == [False]
    assert status.problems == {}


@pytest.mark.parametrize(
    ("away", "said"),
    [(LedgerUnavailable("OSError"), "does not answer: OSError"), (TimeoutError(), "no answer within 2 seconds")],
)
async def test_while_the_database_is_away_nothing_is_stuck_and_nothing_is_known(
    away: Exception, said: str, watch: Watch, parts: Parts, status: Status
) -> None:
    await watch.look()
    assert (watch.backlog, watch.database_answers) == (NOTHING, True)
    parts.lane, parts.ledger_is_away = LaneProgress(waits=True, decided_at=0.0), away
    assert not any(await looks(watch, 50))
    assert status.problems["database"] == said
    assert "progress" in status.problems
    assert (watch.backlog, watch.database_answers) == (None, False)


async def test_nor_is_it_while_a_person_has_to_let_it_at_the_ledger(watch: Watch, parts: Parts, status: Status) -> None:
    parts.lane = LaneProgress(waits=True, decided_at=0.0)
    status.set("ledger", "batches wait: permission denied")
    assert not any(await looks(watch, 50))


@pytest.mark.parametrize("part", ["schema", "kafka"])
async def test_nor_is_it_while_the_schema_or_the_brokers_are_missing(part: str, watch: Watch, parts: Parts) -> None:
    parts.lane = LaneProgress(waits=True, decided_at=0.0)
    setattr(parts, part, "missing")
    assert not any(await looks(watch, 50))
    setattr(parts, part, None)
    assert any(await looks(watch, 50))


async def test_before_the_first_look_nothing_is_known_of_the_database(watch: Watch) -> None:
    assert watch.database_answers is None


async def test_a_database_that_takes_long_to_count_has_answered(watch: Watch, parts: Parts, status: Status) -> None:
    parts.counting = TimeoutError()
    assert await looks(watch, 1) == [False]
    assert (watch.backlog, watch.database_answers) == (None, True)
    assert status.problems == {}


async def test_one_that_goes_away_while_it_counts_does_not_answer(watch: Watch, parts: Parts, status: Status) -> None:
    parts.counting = LedgerUnavailable("gone")
    await watch.look()
    assert (watch.backlog, watch.database_answers) == (None, False)
    assert status.problems == {"database": "does not answer: gone"}


async def test_who_reads_on_a_way_of_their_own_that_is_closed_is_said(
    watch: Watch, parts: Parts, status: Status
) -> None:
    parts.readers_are_out = AccessDenied("the password is wrong")
    parts.lane = LaneProgress(waits=True, decided_at=0.0)
    assert any(await looks(watch, 50)), "no excuse for those who decide"
    assert status.problems["reads"] == "denies access: the password is wrong"
    assert "database" not in status.problems
    assert watch.database_answers
    parts.readers_are_out = None
    await watch.look()
    assert "reads" not in status.problems


async def test_an_outbox_that_grows_old_is_said(watch: Watch, parts: Parts, status: Status) -> None:
    parts.now = replace(NOTHING, outbox_events=1, outbox_oldest_seconds=59.0)
    await watch.look()
    assert status.problems == {}
    parts.now = replace(NOTHING, outbox_events=1, outbox_oldest_seconds=61.0)
    await watch.look()
    assert status.problems == {"outbox": "events have waited in the outbox for more than 60 s and are not published"}


async def test_a_look_that_fails_is_a_defect_and_no_end(watch: Watch, parts: Parts) -> None:
    parts.ledger_is_away = RuntimeError()
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("stands", ["time.sleep(60)", "while True: pass", "re.match('(a+)+b', 'a' * 60)"])
def test_a_loop_that_no_longer_turns_ends_the_process(stands: str) -> None:
    """Also while C code holds the interpreter, so that no thread of Python's could run."""
    program = f"""
import asyncio, re, time
from credit_service.watch.loop_guard import guarded

def stands_here(payload):
    {stands}

async def main():
    async with guarded(0.5):
        await asyncio.sleep(0)
        stands_here("hunter2")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=patience(60)
    )
    assert done.returncode == 1
    assert "in stands_here" in done.stderr
    assert "hunter2" not in done.stderr


async def test_a_loop_that_turns_puts_the_alarm_off_and_takes_it_back_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_off, taken_back = Mock(), Mock()
    monkeypatch.setattr(faulthandler, "dump_traceback_later", put_off)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", taken_back)
    async with guarded(0.02):
        await eventually(lambda: put_off.call_count > 9)
        taken_back.assert_not_called()
    taken_back.assert_called_once_with()
    assert put_off.call_args_list == [call(0.02, exit=True)] * put_off.call_count
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "it goes on putting it off"

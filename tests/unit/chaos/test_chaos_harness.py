"""The harness of the runs under faults: its plans, its heals, its report."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest

from chaos.armed import POINTS, Armed, Trigger
from chaos.faults import KillAtPoint
from chaos.harness import Harness
from chaos.plan import ON_OWN_SERVERS, ON_SHARED_SERVERS, Strike, chances, drawn
from chaos.report import Report
from chaos.scene import Scene
from chaos.workload import Order, Raw, Tell, Workload, all_kinds
from credit_contracts.topics import INCOMING_TOPICS
from support.service import Deployment

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Noted:
    """A fault that notes what is done to it, and fails where it is told to."""

    fails_in: str = ""
    done: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "noted"

    async def inject(self, scene: Scene) -> None:
        self._do("inject", scene)

    async def heal(self, scene: Scene) -> None:
        self._do("heal", scene)

    def _do(self, what: str, scene: Scene) -> None:
        assert not scene.members
        self.done.append(what)
        if what == self.fails_in:
            raise ConnectionError(f"no {what}")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(Deployment("postgresql://nowhere", "127.0.0.1:1", "t-", tmp_path))


@pytest.fixture
def harness(scene: Scene) -> Harness:
    return Harness(scene, "seed")


def in_short(workload: Workload) -> list[list[object]]:
    """Without the day on which it is drawn, and the numbers that this process gives to events without a name."""

    def told(step: object) -> object:
        match step:
            case Tell(event, is_dead):
                return event.type, event.data.account_id, is_dead
            case Raw(topic, value, is_dead=True):
                return topic, value
            case Order():
                return step
        return type(step)

    return [[told(step) for step in section] for section in workload.sections]


def test_plan_of_one_seed_is_the_same_twice_and_another_of_another() -> None:
    def of(seed: str) -> list[Strike]:
        return drawn(chances(seed, "plan"), ON_OWN_SERVERS, 30, members=3, hold_seconds_max=2.0)

    assert of("one") == of("one")
    assert of("one") != of("two")


def test_workload_of_one_seed_is_the_same_twice() -> None:
    one, same, other = (in_short(all_kinds(chances(seed, "work"), 3, 40)) for seed in ("one", "one", "two"))
    assert one == same
    assert one != other


def test_a_plan_has_each_kind_once_before_any_comes_again() -> None:
    strikes = drawn(chances("one", "plan"), ON_OWN_SERVERS, len(ON_OWN_SERVERS), members=2)
    assert len({type(strike.fault) for strike in strikes}) == len(ON_OWN_SERVERS)


def test_members_of_a_plan_are_those_that_there_are() -> None:
    strikes = drawn(chances("one", "plan"), ON_SHARED_SERVERS, 60, members=2)
    members = [member for strike in strikes if (member := getattr(strike.fault, "member", None)) is not None]
    assert set(members) == {0, 1}


def test_a_workload_of_all_kinds_has_every_type_of_event_and_what_nobody_can_read() -> None:
    sections = all_kinds(chances("one", "work"), 3, 40).sections
    steps = [step for section in sections for step in section]
    assert {step.event.type for step in steps if isinstance(step, Tell)} == set(INCOMING_TOPICS)
    assert len([step for step in steps if isinstance(step, Raw) and step.is_dead]) >= 5
    verbs = {step.arguments[:2] for step in steps if isinstance(step, Order)}
    assert {("refunds", "approve"), ("refunds", "reject"), ("dead-letters", "retry")} <= verbs


async def test_a_fault_is_healed_when_the_run_goes_well(harness: Harness) -> None:
    fault = Noted()
    async with harness.under(fault):
        assert fault.done == ["inject"]
    assert fault.done == ["inject", "heal"]
    harness.report.assert_all_over(1)


async def test_a_fault_is_healed_when_the_run_fails(harness: Harness) -> None:
    fault = Noted()
    with pytest.raises(ValueError, match="broken"):
        async with harness.under(fault):
            raise ValueError("broken")
    assert fault.done == ["inject", "heal"]
    assert "ValueError('broken')" in harness.report.table()
    with pytest.raises(AssertionError, match="not injected and healed"):
        harness.report.assert_all_over(1)


async def test_a_fault_is_healed_when_its_injection_fails(harness: Harness) -> None:
    fault = Noted(fails_in="inject")
    with pytest.raises(ConnectionError, match="no inject"):
        async with harness.under(fault):
            pytest.fail("it was not injected")
    assert fault.done == ["inject", "heal"]
    (struck,) = harness.report.struck
    assert (struck.injected, struck.is_over) == (None, False)


async def test_a_fault_is_healed_when_the_run_is_cancelled(harness: Harness) -> None:
    fault, is_there = Noted(), asyncio.Event()

    async def run() -> None:
        async with harness.under(fault):
            is_there.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    await is_there.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert fault.done == ["inject", "heal"]


async def test_what_cannot_be_healed_is_told(harness: Harness) -> None:
    with pytest.raises(ConnectionError, match="no heal"):
        async with harness.under(Noted(fails_in="heal")):
            pass
    assert "not healed: ConnectionError('no heal')" in harness.report.table()


async def test_the_report_is_told_also_when_the_run_fails(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def no_topics(*, partitions: int) -> None:
        assert partitions

    monkeypatch.setattr(scene.deployment, "make_topics", no_topics)
    with pytest.raises(ValueError, match="broken"):
        async with Harness(scene, "s-1", told.append).running(members=0) as harness, harness.under(Noted()):
            raise ValueError("broken")
    assert told == [harness.report.table()]


def test_a_report_says_what_happened_when() -> None:
    seconds = count(10.0, 2.0)
    report = Report("s-1", clock=lambda: next(seconds))
    struck = report.begin("a fault")
    struck.injected, struck.healed = report.seconds, report.seconds
    assert struck.recovery_seconds is None
    struck.well = report.seconds
    assert [struck.began, struck.injected, struck.healed] == [2.0, 4.0, 6.0]
    assert report.struck[0].recovery_seconds == 2.0
    lines = [line.split() for line in report.table().splitlines()]
    assert lines[0] == ["CHAOS_SEED=s-1"]
    assert lines[2] == ["a", "fault", "4.0", "s", "6.0", "s", "2.0", "s"]
    report.assert_all_over(1)
    with pytest.raises(AssertionError, match="1 faults, not 2"):
        report.assert_all_over(2)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that this process would have had."""
    signals: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: signals.append(number))
    return signals


def test_an_armed_point_is_counted_from_then_on_and_kills_one_process_once(tmp_path: Path, killed: list[int]) -> None:
    trigger = Trigger(tmp_path / "kill-at")
    one, other = Armed(trigger.path), Armed(trigger.path)
    one.reach("after-commit")
    trigger.arm("after-commit", 2)
    for process in (one, other):
        process.reach("before-transaction")
        process.reach("after-commit")
    assert not killed
    other.reach("after-commit")
    one.reach("after-commit")
    assert killed == [signal.SIGKILL]
    trigger.arm("after-commit", 2)
    one.reach("after-commit")
    trigger.disarm()
    one.reach("after-commit")
    assert killed == [signal.SIGKILL]


def test_every_point_can_be_drawn() -> None:
    drawn_points = {
        strike.fault.point
        for strike in drawn(chances("one", "plan"), {"point": ON_SHARED_SERVERS["kill at a point"]}, 100, members=1)
        if isinstance(strike.fault, KillAtPoint)
    }
    assert drawn_points == set(POINTS)

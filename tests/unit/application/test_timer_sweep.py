"""How far the sweep takes each partition number to be read, and which accounts it wakes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from credit_contracts import Event, PlanChanged, encode
from credit_service import bounds
from credit_service.application.errors import RefusedByLedger
from credit_service.application.processing import timer_sweep as timers
from credit_service.application.processing.parked_expiry import ParkedExpiry
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.report import Report
from credit_service.application.processing.timer_backoff import PAUSE_SECONDS_MAX, TimerBackoff
from credit_service.application.processing.timer_sweep import TimerSweep
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.testing.memory import MemoryLedger
from support.small_bounds import small_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credit_service.application.ports import ToStore

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Asked:
    """Replaces the ledger and the expiry of parked events: records the calls, and has nothing due."""

    def __init__(self) -> None:
        self.numbers: list[dict[int, datetime | None]] = []

    async def accounts_with_due_timers(self, passed_at: Mapping[int, datetime | None], *_: int) -> list[Any]:
        self.numbers.append(dict(passed_at))
        return []

    async def accounts_to_unpark(self, _: int) -> list[str]:
        return []

    async def sweep(self, *_: object) -> Report:
        return Report()


async def asked_after(sweep: TimerSweep, ledger: Asked, *, at_their_ends: set[int]) -> dict[int, datetime | None]:
    ledger.numbers.clear()
    await sweep.sweep({0, 1, 2}, at_their_ends, asyncio.Event())
    return ledger.numbers[-1] if ledger.numbers else {}


async def test_only_numbers_of_which_it_is_known_how_far_they_are_read_are_asked_about() -> None:
    ledger = Asked()
    anything = cast("Any", ledger)
    sweep = TimerSweep(anything, Processor(anything, Rules()), anything)

    assert await asked_after(sweep, ledger, at_their_ends=set()) == {}
    sweep.note_reached(1, AT + timedelta(days=1))
    assert await asked_after(sweep, ledger, at_their_ends={2}) == {1: AT + timedelta(days=1), 2: None}
    sweep.forget(1)
    assert await asked_after(sweep, ledger, at_their_ends={2}) == {2: None}
    sweep.note_reached(1, AT + timedelta(days=1))
    sweep.note_reached(1, AT)
    assert await asked_after(sweep, ledger, at_their_ends=set()) == {1: AT}, "what waits is earlier than it was"


class Refuses(MemoryLedger):
    """Takes nothing more of some accounts once it is told which; notes whose transactions it was given."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.refused: set[str] = set()
        self.given: list[set[str]] = []

    def write(self, what: ToStore) -> None:
        self.given.append(set(what.accounts))
        if self.refused & set(what.accounts):
            raise RefusedByLedger("23514", "a_constraint")
        super().write(what)


class Sweeps:
    """Sweeps of a lane with a stopped clock, over accounts whose months are over, the failing ones first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: int, others: int) -> None:
        self.seconds = 1_000.0
        monkeypatch.setattr(timers, "time", SimpleNamespace(monotonic=lambda: self.seconds))
        self.ledger = Refuses(AT + timedelta(days=40))
        self.failing = [f"bad-{n}" for n in range(failing)]
        self.others = [f"good-{n}" for n in range(others)]
        processor = Processor(self.ledger, Rules(), moves_offsets=False)
        plans = [plan(name, AT + timedelta(minutes=n), n) for n, name in enumerate([*self.failing, *self.others])]
        asyncio.run(processor.process(plans, asyncio.Event()))
        self.ledger.refused = set(self.failing)
        self.sweeper = TimerSweep(self.ledger, processor, ParkedExpiry(self.ledger, timedelta(days=1)))
        self.sweeper.partitions = 1

    def sweep(self) -> set[str]:
        """Sweeps once; returns the accounts whose timers were tried."""
        self.ledger.given.clear()
        # Tracebacks in the log would take most of the time here.
        with capture_logs():
            asyncio.run(self.sweeper.sweep({0}, {0}, asyncio.Event()))
        return set().union(*self.ledger.given)

    def turned(self) -> set[str]:
        return {name for name, kept in self.ledger.accounts.items() if kept.row.position == 2}


def plan(account: str, at: datetime, offset: int) -> Record:
    data = PlanChanged(account_id=account, plan_id="p", monthly_credits=5)
    encoded = encode(Event("/s", account, "plan-changed", at, data))
    return read_record(Place("plan-changed", 0, offset), "plan-changed", encoded.key, encoded.value, encoded.headers, 0)


def test_accounts_whose_timers_fail_stand_in_front_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with small_bounds(ACCOUNTS_PER_SWEEP_MAX=2):
        sweeps = Sweeps(monkeypatch, failing=5, others=5)
        for _ in range(8):
            sweeps.sweep()

    assert sweeps.turned() == set(sweeps.others)


def test_an_account_whose_timers_fail_is_tried_after_pauses_that_grow_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeps = Sweeps(monkeypatch, failing=1, others=0)

    assert sweeps.sweep() == {"bad-0"}
    for pause in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX):
        sweeps.seconds += pause - 0.5
        assert sweeps.sweep() == set()
        sweeps.seconds += 0.5
        assert sweeps.sweep() == {"bad-0"}


def test_one_that_comes_through_again_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = Sweeps(monkeypatch, failing=1, others=0)
    sweeps.sweep()
    sweeps.ledger.refused.clear()
    assert sweeps.sweep() == set()
    sweeps.seconds += 1
    assert sweeps.sweep() == {"bad-0"}
    assert sweeps.turned() == {"bad-0"}


def test_one_that_failed_is_tried_with_a_single_timer_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = Sweeps(monkeypatch, failing=1, others=0)
    sweeps.ledger.now = AT + timedelta(days=100)
    sweeps.sweep()
    sweeps.ledger.refused.clear()
    sweeps.seconds += 1
    for position in (2, 4):
        sweeps.sweep()
        assert sweeps.ledger.accounts["bad-0"].row.position == position


def test_those_that_failed_before_do_not_have_the_others_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = Sweeps(monkeypatch, failing=1, others=3)
    sweeps.ledger.refused = set()
    asyncio.run(sweeps.sweeper.sweep({0}, {0}, asyncio.Event()))
    sweeps.ledger.refused = {"bad-0"}
    sweeps.ledger.now += timedelta(days=31)
    sweeps.sweep()
    assert len(sweeps.ledger.given) == 1 + 4, "together, and then one by one"
    sweeps.ledger.now += timedelta(days=31)
    sweeps.seconds += 1
    sweeps.sweep()

    assert sweeps.ledger.given == [set(sweeps.others), {"bad-0"}]


def test_of_too_many_those_that_pause_longest_are_remembered() -> None:
    setbacks = TimerBackoff()
    with small_bounds(SET_BACK_ACCOUNTS_MAX=2):
        setbacks.failed(["a"], 0.0)
        setbacks.failed(["a"], 1.0)
        setbacks.failed(["b", "c"], 1.5)

    assert len(setbacks) == 2
    assert setbacks.holds("a", 2.9)
    assert not setbacks.holds("a", 3.0)
    assert bounds.SET_BACK_ACCOUNTS_MAX > 2


def test_one_that_nobody_tries_any_more_is_forgotten() -> None:
    setbacks = TimerBackoff()
    setbacks.failed(["a"], 0.0)
    setbacks.forget_old(PAUSE_SECONDS_MAX)
    assert "a" in setbacks
    setbacks.forget_old(PAUSE_SECONDS_MAX + 2)
    assert "a" not in setbacks

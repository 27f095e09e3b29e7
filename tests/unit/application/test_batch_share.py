"""A batch that runs out of time is tried in halves, and grows back; a single item is retried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from credit_contracts import Event, PlanChanged, ProspectGenerated, encode
from credit_service.application import retry
from credit_service.application.errors import LedgerUnavailable, OutOfTime
from credit_service.application.opening.opening import Opening
from credit_service.application.opening.rows import Row
from credit_service.application.processing.batch_share import CAME_THROUGH_TO_GROW, BatchShare
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain.command import OpenAccount, command_of
from credit_service.domain.event import Place, Wake
from credit_service.domain.rules import Rules
from credit_service.testing.memory import MemoryLedger, MemoryTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from credit_service.application.ports import ToStore

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TOPIC = "plan-changed"


@dataclass
class Slow(MemoryLedger):
    """A ledger that has the time for `decisions_max` decisions in one transaction."""

    decisions_max: Callable[[], int] = lambda: 3
    tried: list[int] = field(default_factory=list)

    def write(self, what: ToStore) -> None:
        decisions = len(what.decided.decisions)
        self.tried.append(decisions)
        if decisions > self.decisions_max():
            raise OutOfTime("QueryCanceledError, SQLSTATE 57014")
        super().write(what)


@dataclass
class NeverInTime(MemoryLedger):
    """A ledger that runs out of time `times` over, whatever the batch."""

    times: int = 0

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> AsyncIterator[MemoryTransaction]:
        if self.times:
            self.times -= 1
            raise OutOfTime("TimeoutError")
        async with super().transaction(keep=keep) as transaction:
            yield transaction


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_SECONDS_FIRST", 0.0001)
    monkeypatch.setattr(retry, "BACKOFF_SECONDS_MAX", 0.001)


def plans(number: int) -> list[Record]:
    records = []
    for offset in range(number):
        data = PlanChanged(account_id=f"a{offset}", plan_id="p", monthly_credits=9)
        encoded = encode(Event("/test", f"e-{offset}", TOPIC, BEGAN, data))
        place = Place(TOPIC, 0, offset)
        records.append(read_record(place, TOPIC, encoded.key, encoded.value, encoded.headers, 0))
    return records


def generated(number: int) -> Record:
    data = ProspectGenerated(account_id="a0", prospect_id=f"p{number}")
    encoded = encode(Event("/test", f"g-{number}", "prospect-generated", BEGAN, data))
    place = Place("prospect-generated", 0, number)
    return read_record(place, "prospect-generated", encoded.key, encoded.value, encoded.headers, 0)


def processor_of(ledger: MemoryLedger) -> Processor:
    processor = Processor(ledger, Rules())
    processor.positions |= {(TOPIC, 0): 0, ("prospect-generated", 0): 0}
    return processor


def test_a_batch_that_runs_out_of_time_is_halved_and_grows_back() -> None:
    ledger, came = Slow(BEGAN), []
    processor = processor_of(ledger)
    report = asyncio.run(
        processor.process(plans(40), asyncio.Event(), progressed=lambda: came.append(processor.positions[TOPIC, 0]))
    )

    in_vain = sum(tried > 3 for tried in ledger.tried)
    assert (report.events, report.retries, processor.retries) == (40, in_vain, in_vain)
    assert ledger.tried[:10] == [40, 20, 10, 5, 2, 2, 2, 2, 4, 2], "it grows by what has come through"
    assert set(ledger.tried[10:]) == {2, 4}
    assert processor.positions[TOPIC, 0] == 40
    assert came == sorted(set(came))
    assert came[-1] == 40
    assert not report.ran_out


def test_it_grows_to_all_there_is_once_the_ledger_is_fast_again() -> None:
    allowed = [1]
    ledger = Slow(BEGAN, decisions_max=lambda: allowed[0])
    processor = processor_of(ledger)
    asyncio.run(processor.process(plans(8), asyncio.Event()))
    allowed[0] = 1_000
    ledger.tried.clear()
    records = [r for r in plans(100) if r.place.offset >= 8]
    asyncio.run(processor.process(records, asyncio.Event()))

    assert ledger.tried[:-1] == sorted(ledger.tried[:-1])
    assert max(ledger.tried) >= 16
    assert sum(ledger.tried) == len(records)


def test_one_that_runs_out_of_time_is_waited_for_and_is_no_dead_letter() -> None:
    ledger = NeverInTime(BEGAN, times=50)
    report = asyncio.run(processor_of(ledger).process(plans(1), asyncio.Event()))

    assert (report.events, report.retries) == (1, 50)
    assert not report.dead_letters
    assert ledger.accounts["a0"].row.position == 1


def test_one_that_has_few_attempts_ends_with_the_last() -> None:
    ledger = NeverInTime(BEGAN, times=50)
    processor = Processor(ledger, Rules(), moves_offsets=False, attempts_max=3)
    with pytest.raises(OutOfTime):
        asyncio.run(processor.process(plans(4), asyncio.Event()))

    assert ledger.times == 50 - 2 - 3, "two halvings, and three attempts of one"


def test_a_ledger_that_is_away_has_nothing_halved() -> None:
    @dataclass
    class Away(NeverInTime):
        @asynccontextmanager
        async def transaction(self, *, keep: bool = True) -> AsyncIterator[MemoryTransaction]:
            if self.times:
                self.times -= 1
                raise LedgerUnavailable("ConnectionRefusedError")
            async with super().transaction(keep=keep) as transaction:
                yield transaction

    ledger = Away(BEGAN, times=3)
    processor = processor_of(ledger)
    came: list[int] = []
    asyncio.run(processor.process(plans(4), asyncio.Event(), progressed=lambda: came.append(1)))

    assert came == [1]


def test_wakes_that_run_out_of_time_are_halved_and_so_are_the_timers_of_one() -> None:
    ledger = Slow(BEGAN, decisions_max=lambda: 100)
    processor = processor_of(ledger)
    asyncio.run(processor.process(plans(8), asyncio.Event()))
    ledger.now = BEGAN + timedelta(days=400)
    ledger.decisions_max = lambda: 3
    ledger.tried.clear()
    wakes = [Wake(f"a{n}", ledger.now, 12) for n in range(8)]
    report = asyncio.run(processor.wake(wakes, asyncio.Event()))

    assert (report.wakes, report.failed) == (8, set())
    assert ledger.tried[:6] == [96, 48, 24, 12, 6, 3]
    assert {account.row.position for account in ledger.accounts.values()} == {1 + 3}


def test_a_wake_that_has_no_time_for_one_timer_has_failed() -> None:
    ledger = Slow(BEGAN, decisions_max=lambda: 100)
    processor = processor_of(ledger)
    asyncio.run(processor.process(plans(2), asyncio.Event()))
    ledger.now = BEGAN + timedelta(days=40)
    ledger.decisions_max = lambda: 0
    wakes: Sequence[Wake] = [Wake(f"a{n}", ledger.now, 12) for n in range(2)]
    report = asyncio.run(processor.wake(wakes, asyncio.Event()))

    assert (report.wakes, report.failed, report.failed_wakes) == (2, {"a0", "a1"}, 2)


def test_a_first_plan_lets_in_as_many_as_there_is_time_for() -> None:
    """Found: the plan is one message, and was tried for ever with all parked events, up to 1,000."""
    ledger = Slow(BEGAN, decisions_max=lambda: 100)
    processor = processor_of(ledger)
    asyncio.run(processor.process([generated(n) for n in range(20)], asyncio.Event()))
    ledger.decisions_max = lambda: 3
    asyncio.run(processor.process(plans(1), asyncio.Event()))
    assert ledger.accounts["a0"].row.position > 1

    lets_in = [Wake("a0", BEGAN, 0)]
    while ledger.accounts["a0"].row.parked:
        assert not asyncio.run(processor.wake(lets_in, asyncio.Event())).failed
    assert ledger.accounts["a0"].row.position == 21


def test_rows_that_run_out_of_time_are_halved() -> None:
    ledger = Slow(BEGAN)
    opening = Opening(ledger, Rules())
    rows = [
        Row(n + 2, "account", command_of(f"a{n}", OpenAccount("p", 5, None, None, BEGAN, "UTC", 1))) for n in range(20)
    ]

    async def opened() -> int:
        return sum([batch.opened["account"] async for batch in opening.batches(rows)])

    assert asyncio.run(opened()) == 20
    assert ledger.tried[:4] == [20, 10, 5, 2]


def test_a_row_that_never_has_the_time_ends_the_run() -> None:
    ledger = Slow(BEGAN, decisions_max=lambda: 0)
    rows = [Row(2, "account", command_of("a", OpenAccount("p", 5, None, None, BEGAN, "UTC", 1)))]

    async def opened() -> None:
        async for _ in Opening(ledger, Rules()).batches(rows):
            pass

    with pytest.raises(OutOfTime):
        asyncio.run(opened())
    assert ledger.tried == [1] * retry.ATTEMPTS_MAX


def test_a_share_halves_and_doubles() -> None:
    share = BatchShare()
    assert share.of(5_000) == 5_000
    share.ran_out(5_000)
    share.ran_out(2_500)
    assert (share.of(5_000), share.of(7), share.of(0)) == (1_250, 7, 0)

    for _ in range(CAME_THROUGH_TO_GROW - 1):
        share.came_through(1_250)
    share.came_through(3)
    assert share.of(5_000) == 1_250, "few that come through say nothing of many"
    share.came_through(1_250)
    assert share.of(5_000) == 2_500

    share.ran_out(1)
    assert share.of(5_000) == 1

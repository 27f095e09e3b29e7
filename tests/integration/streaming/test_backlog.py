"""A month of hundreds of accounts has the same result live, as a backlog, in pieces, or with repeats."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData, PlanChanged
from credit_contracts.topics import partition_for
from credit_local_stack import Addresses
from credit_service.application.refunds.desk import RefundDesk
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from support.clock import GRACE, Clock
from support.credits import decide_events
from support.observed import CHANGES, DECLINES, Observed
from support.service import Deployment, ServiceProcess
from support.stack import fresh_database
from support.traffic import MONTH_BEGAN, MONTH_DAYS, Upstream, event, instants_of, month_of_traffic
from support.wait import eventually

ACCOUNTS = 150
EVENTS = 2_200
END = MONTH_BEGAN + timedelta(days=MONTH_DAYS, hours=1)
# Live, the first plan may come later than parked events are kept for; in a backlog it lies there to be seen.
SETTINGS = {"parked_hours_max": "8784", "batch_records_max": "150"}
# Live, every step of the clock waits for a sweep of what is due.
SWEEPS_OFTEN = """
from credit_service.application.processing import timer_sweep as timers
from credit_service.application.processing import lane
timers.SWEEP_EVERY_SECONDS = lane.IDLE_WAIT_SECONDS = 0.1
"""
OF_RECORDING = ("decided_at", "recorded_at", "offset", "partition")
TAKEN_IN_SECONDS_MAX = 120
PATIENCE_SECONDS = 8
KILLS = ("inside-transaction:4", "after-kafka-commit:2", "before-transaction:3", "after-commit:5", "before-cleanup:2")

Events = list[Event[IncomingData]]


@dataclass
class Run:
    """One deployment in the middle of its month."""

    deployment: Deployment
    clock: Clock
    upstream: Upstream
    events: Events

    async def start(self, kill_at: str = "") -> ServiceProcess:
        return await self.deployment.start(kill_at=kill_at, faults=SWEEPS_OFTEN, **SETTINGS)

    async def until_taken_in(self, count: int) -> None:
        async def is_taken_in() -> bool:
            return await self.clock.taken_in() >= count

        await eventually(is_taken_in, within_seconds=TAKEN_IN_SECONDS_MAX)


async def live(run: Run) -> ServiceProcess:
    """Each event is sent when it occurs, and what is due by itself happens when it is due."""
    service = await (await run.start()).ready()
    sent = 0
    for part, up_to in in_steps(run.events):
        await run.clock.set(up_to)
        for together in one_an_account(part, up_to):
            await run.upstream.send(together)
            sent += len(together)
            await run.until_taken_in(sent)
        await run.clock.let_timers_happen(up_to)
    return service


async def at_once(run: Run) -> ServiceProcess:
    """The service was away all the time."""
    await run.clock.set(END)
    await run.upstream.send(run.events)
    service = await run.start()
    await run.until_taken_in(len(run.events))
    return service


async def in_pieces(run: Run) -> ServiceProcess:
    """Each piece is sent while the service is away; it is killed at work on it, and once stopped in good order."""
    steps = list(in_steps(run.events))
    pieces = [steps[len(steps) * n // 6 : len(steps) * (n + 1) // 6] for n in range(6)]
    for piece, kill_at in zip(pieces, (*KILLS, ""), strict=True):
        await run.upstream.send([one for part, _ in piece for one in part])
        await run.clock.set(piece[-1][1])
        service = await run.start(kill_at)
        if kill_at:
            with suppress(TimeoutError):
                assert await service.ended(PATIENCE_SECONDS) == -signal.SIGKILL
            await run.deployment.killed(service)
        else:
            await run.until_taken_in(len(run.events) - len(piece[-1][0]) // 2)
            assert await service.terminate() == 0
    service = await run.start()
    await run.until_taken_in(len(run.events))
    return service


async def twice(run: Run) -> ServiceProcess:
    """Each message comes again, some places later in its topic."""
    rng = random.Random(7)
    again = [(place + rng.randint(1, 400), one) for place, one in enumerate(run.events)]
    places = sorted([*enumerate(run.events), *again], key=lambda pair: pair[0])
    await run.clock.set(END)
    await run.upstream.send([one for _, one in places])
    service = await run.start()
    await run.until_taken_in(2 * len(run.events))
    return service


def in_steps(events: Events) -> Iterator[tuple[Events, datetime]]:
    """What occurred from one instant at which something may happen by itself up to the next one."""
    instants = [MONTH_BEGAN, *(at for at in instants_of(events) if at < END), END]
    for after, up_to in pairwise(instants):
        yield [one for one in events if after < one.time <= up_to], up_to


def one_an_account(events: Events, instant: datetime) -> list[Events]:
    """The first of each account, then the second of each, and so on; what occurred at the instant itself comes last.

    Across accounts no order counts, up to where something happens to all of them.
    """
    rounds: list[Events] = []
    number = Counter[str]()
    for one in (one for one in events if one.time < instant):
        if number[one.data.account_id] == len(rounds):
            rounds.append([])
        rounds[number[one.data.account_id]].append(one)
        number[one.data.account_id] += 1
    return [part for part in (*rounds, [one for one in events if one.time == instant]) if part]


async def decide_requests(deployment: Deployment, clock: Clock) -> None:
    """Of the requests that wait some are approved, some rejected, and some left."""
    async with open_pool(deployment.database_url) as pool:
        desk = RefundDesk(PostgresLedger(pool, unparked_max=100, topic_prefix=deployment.prefix), Rules())
        for number, (account, charge) in enumerate(await clock.waiting_requests()):
            if number % 5 == 4:
                continue
            answer = await desk.decide(
                account,
                charge,
                approve=number % 2 == 0,
                operator="ops",
                reason="asked for",
                command_id=f"command-{number}",
            )
            assert answer.outcome == ("refunded" if number % 2 == 0 else "rejected")


def told(observed: Observed) -> dict[str, Any]:
    """What must not depend on when it was decided."""
    tables = ("accounts", "decisions", "entries", "grants", "plans", "prospects", "purchases", "requests", "parked")
    rows = {name: sorted(map(_timeless, getattr(observed, name)), key=repr) for name in tables}
    published = {
        topic: sorted((_timeless(message.data()) for message in observed.outgoing[topic]), key=repr)
        for topic in (CHANGES, DECLINES)
    }
    return rows | published


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OF_RECORDING}


@pytest.fixture
def stage(stack: Addresses, database_template: str, topic_prefix: str, tmp_path: Path) -> Any:
    """Makes one deployment after the other, each with a clock that is set by hand."""

    @asynccontextmanager
    async def open_one(name: str, events: Events) -> AsyncIterator[Run]:
        folder = tmp_path / name
        folder.mkdir()
        with fresh_database(stack.database_url, database_template) as url:
            async with Deployment(url, stack.bootstrap_servers, f"{name}-{topic_prefix}", folder) as deployment:
                await deployment.make_topics()
                async with Clock.replacing(url, MONTH_BEGAN) as clock, deployment.upstream() as upstream:
                    yield Run(deployment, clock, upstream, events)

    return open_one


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_live_at_once_in_pieces_and_twice_come_to_the_same(stage: Any) -> None:
    events = month_of_traffic(29, accounts=ACCOUNTS, events=EVENTS)
    seen = {}
    for play in (live, at_once, in_pieces, twice):
        async with stage(play.__name__.replace("_", "-"), events) as run:
            service = await play(run)
            await run.clock.set(END)
            await run.clock.let_timers_happen(END - GRACE)
            await decide_requests(run.deployment, run.clock)
            observed = await run.deployment.oracle().check(within_seconds=TAKEN_IN_SECONDS_MAX)
            assert await service.terminate() == 0
        assert observed.dead_letters == []
        seen[play.__name__] = told(observed)
    as_live = seen.pop("live")
    for play_name, as_played in seen.items():
        for table, rows in as_live.items():
            differ = [(one, other) for one, other in zip(rows, as_played[table], strict=False) if one != other]
            assert as_played[table] == rows, f"{play_name}, {table}: {len(differ)} rows differ, first {differ[:1]}"
    assert as_live["parked"] == []
    assert {row["outcome"] for row in as_live["decisions"]} >= ALL_OUTCOMES
    assert {row["status"] for row in as_live["requests"]} == {"waiting", "approved", "rejected", "overtaken"}


ALL_OUTCOMES = {
    "charged",
    "free",
    "declined",
    "refunded",
    "awaiting-charge",
    "no-effect",
    "purchased",
    "imported",
    "deleted",
    "refund-requested",
    "rejected",
    "plan-in-force",
    "plan-pending",
    "renewed",
    "expired",
}


async def due(database_url: str, passed_at: dict[int, datetime | None]) -> set[str]:
    async with open_pool(database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=100)
        return {account for account, _ in await ledger.accounts_with_due_timers(passed_at, 3, 1_000)}


async def test_the_sweep_goes_by_what_each_partition_number_has_passed(database_url: str) -> None:
    turn = datetime(2026, 4, 1, tzinfo=UTC)
    plans = [
        event(
            PlanChanged(account_id=f"a{n}", plan_id="plan", monthly_credits=5, billing_anchor_at=MONTH_BEGAN),
            MONTH_BEGAN,
        )
        for n in range(12)
    ]
    async with Clock.replacing(database_url, MONTH_BEGAN) as clock:
        await decide_events(database_url, *plans)
        numbers = {name: partition_for(name.encode(), 3) for name in (plan.data.account_id for plan in plans)}
        ours = {name for name, number in numbers.items() if number == 1}
        assert 0 < len(ours) < len(numbers)
        await clock.set(turn + timedelta(days=1))
        assert await due(database_url, {1: turn + timedelta(seconds=1)}) == ours, "the others were not asked about"
        assert await due(database_url, {1: None}) == ours
        assert await due(database_url, {1: turn}) == set(), "a plan may still come that takes effect at the turn"
        await clock.set(turn + GRACE - timedelta(seconds=1))
        assert await due(database_url, {1: None}) == set()
        assert await due(database_url, {1: turn + timedelta(seconds=1)}) == ours

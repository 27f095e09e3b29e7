"""Two services in one group: one is frozen for longer than its sessions last and woken again, then the other killed;
and both are started at once when months have passed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData, PlanChanged, ProspectGenerated
from support.clock import GRACE, Clock
from support.observed import Observed
from support.service import Deployment, ServiceProcess
from support.traffic import event, random_traffic, slices
from support.wait import eventually
from support.worked_off import work_off

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PARTITIONS = 27
TRIES_MAX = 2_000
TAKEN_OVER_SECONDS_MAX = 75
SHORTER = """
from credit_service.kafka.publish import relay
from credit_service.postgres import session
from credit_service.postgres.ledger import outbox
relay.PUBLISH_SECONDS_MAX, relay.TRANSACTION_TIMEOUT_MS = 7.0, 8_000
outbox.LEADER_IDLE_TIMEOUT = session.SESSION["idle_in_transaction_session_timeout"] = "10s"
"""
"""For how long a frozen one keeps what it has; in the same order, a third of what is longer than a session."""

ACCOUNTS = 200
ALLOWANCE = 5
BEGAN = datetime(2026, 1, 31, tzinfo=UTC)
TURNS = [datetime(2026, month, day, tzinfo=UTC) for month, day in ((2, 28), (3, 31), (4, 30))]


async def is_caught_at_work(service: ServiceProcess, connection: Connection) -> bool:
    """Whether the frozen service has left a transaction open in Postgres, and a claim that is not finished."""
    ports = [c.laddr.port for c in psutil.Process(service.pid).net_connections("tcp") if c.laddr]
    caught: bool = await connection.fetchval(
        """SELECT EXISTS (SELECT FROM credits.outbox_claim) AND EXISTS (
            SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND client_port = any($1) AND state = 'idle in transaction')""",
        ports,
    )
    return caught


async def freeze_at_work(service: ServiceProcess, connection: Connection) -> None:
    for _ in range(TRIES_MAX):
        service.freeze()
        if await is_caught_at_work(service, connection):
            return
        service.thaw()
        await asyncio.sleep(0.003)  # lets it go a little further
    raise AssertionError("never caught at work")


async def send_without_end(deployment: Deployment, events: list[Event[IncomingData]], done: asyncio.Event) -> None:
    """Sends a little at a time until told to stop, then all the rest."""
    async with deployment.upstream() as upstream:
        for part in slices(events, 5):
            await upstream.send(part)
            if not done.is_set():
                await asyncio.sleep(0.01)


def reads(service: ServiceProcess) -> int:
    """How many partitions it opened last."""
    opened = service.logged("partitions opened")
    return int(opened[-1]["partitions"]) if opened else 0


def times_led(service: ServiceProcess) -> int:
    return len(service.logged("relay leads"))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_one_is_frozen_and_woken_then_the_other_killed(deployment: Deployment) -> None:
    await deployment.make_topics()
    frozen = await (await deployment.start(faults=SHORTER, batch_records_max="10")).ready()
    await eventually(lambda: times_led(frozen) == 1, what="the first leads")
    other = await (await deployment.start(faults=SHORTER, batch_records_max="10")).ready()
    await eventually(lambda: 0 < reads(frozen) < PARTITIONS and 0 < reads(other) < PARTITIONS, what="both read")

    done = asyncio.Event()
    sending = asyncio.create_task(send_without_end(deployment, random_traffic(17, events=4_000), done))
    connection = await asyncpg.connect(deployment.database_url)
    try:
        await freeze_at_work(frozen, connection)
        assert times_led(other) == 0
        await eventually(lambda: reads(other) == PARTITIONS, within_seconds=TAKEN_OVER_SECONDS_MAX)
        await eventually(lambda: times_led(other) == 1, within_seconds=TAKEN_OVER_SECONDS_MAX)
        frozen.thaw()
        await eventually(lambda: 0 < reads(other) < PARTITIONS, what="the woken one reads again")
        woken, led = frozen, times_led(frozen)
        await other.kill()
        await eventually(lambda: times_led(woken) == led + 1, what="the woken one leads again")
        await eventually(lambda: reads(woken) == PARTITIONS, within_seconds=TAKEN_OVER_SECONDS_MAX)
    finally:
        done.set()
        await connection.close()
        await sending
    # All that was not sent before came at once, and one service in small batches decides it.
    observed = await deployment.oracle().check(within_seconds=120)
    assert observed.dead_letters == []
    assert await woken.terminate() == 0


def charges_of(number: int) -> tuple[int, int]:
    """How many an account has before the downtime, and how many wait after it."""
    return number % 3, number % 2


def before_the_downtime() -> list[Event[IncomingData]]:
    plans = [
        event(PlanChanged(account_id=f"a{n}", plan_id="plan", monthly_credits=ALLOWANCE), BEGAN)
        for n in range(ACCOUNTS)
    ]
    return plans + [
        generated(n, m, BEGAN + timedelta(minutes=1)) for n in range(ACCOUNTS) for m in range(charges_of(n)[0])
    ]


def generated(account: int, prospect: int, at: datetime) -> Event[IncomingData]:
    return event(ProspectGenerated(account_id=f"a{account}", prospect_id=f"p{prospect}"), at)


def entered(observed: Observed, account: str) -> list[tuple[str, int]]:
    return [(row["reason"], row["amount"]) for row in observed.entries if row["account_id"] == account]


@pytest.mark.slow
async def test_two_started_after_months_renew_each_account_once_a_period(deployment: Deployment) -> None:
    await deployment.make_topics()
    async with Clock.replacing(deployment.database_url, BEGAN + timedelta(hours=1)) as clock:
        async with deployment.upstream() as upstream:
            early = before_the_downtime()
            await upstream.send(early)
            await work_off(deployment)
            waiting = [generated(n, 99, TURNS[1] + timedelta(days=3)) for n in range(ACCOUNTS) if charges_of(n)[1]]
            await upstream.send(waiting)

        await clock.set(TURNS[-1] + GRACE + timedelta(days=1))
        services = await start_both_at_the_same_work(deployment)
        await clock.let_timers_happen(TURNS[-1] + timedelta(days=1))
        observed = await deployment.oracle().check()

    turned = Counter((d["account_id"], d["occurred_at"]) for d in observed.decisions if d["type"] == "renewal")
    assert turned == {(f"a{n}", at): 1 for n in range(ACCOUNTS) for at in TURNS}
    for number in range(ACCOUNTS):
        before, after = charges_of(number)
        assert entered(observed, f"a{number}") == [
            ("plan_change", ALLOWANCE), *[("charge", -1)] * before,
            ("lapse", before - ALLOWANCE), ("renewal", ALLOWANCE),
            ("lapse", -ALLOWANCE), ("renewal", ALLOWANCE), *[("charge", -1)] * after,
            ("lapse", after - ALLOWANCE), ("renewal", ALLOWANCE),
        ]  # fmt: skip
    for service in services:
        assert any(batch.get("renewed") for batch in service.logged("batch"))
        assert await service.terminate() == 0


async def start_both_at_the_same_work(deployment: Deployment) -> list[ServiceProcess]:
    """Two services that get to no account before both have their partitions."""
    blocker = await asyncpg.connect(deployment.database_url)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM credits.accounts FOR UPDATE")
            services = [await deployment.start(batch_records_max="50") for _ in range(2)]
            await eventually(
                lambda: all(0 < reads(service) < PARTITIONS for service in services),
                within_seconds=TAKEN_OVER_SECONDS_MAX,
                what="both read",
            )
    finally:
        await blocker.close()
    return services

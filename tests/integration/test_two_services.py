"""Two services in one group: one is frozen for longer than its sessions last and woken again, then the other killed."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData
from support.service import Deployment, ServiceProcess
from support.traffic import random_traffic, slices
from support.wait import eventually

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PARTITIONS = 27
TRIES_MAX = 2_000
# A session in the group lasts 10 s, a transaction of Kafka 25 s, one of Postgres 30 s, and so does leading the relay.
TAKEN_OVER_SECONDS_MAX = 75


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


@pytest.mark.timeout(300)
async def test_one_is_frozen_and_woken_then_the_other_killed(deployment: Deployment) -> None:
    await deployment.make_topics()
    frozen = await (await deployment.start(batch_records_max="10")).ready()
    await eventually(lambda: times_led(frozen) == 1, what="the first leads")
    other = await (await deployment.start(batch_records_max="10")).ready()
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
    observed = await deployment.oracle().check()
    assert observed.dead_letters == []
    assert await woken.terminate() == 0

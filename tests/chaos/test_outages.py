"""Postgres and the broker killed and started again under load, and a fail-over, on servers of this test's own.

The broker dies once; the long form is `make chaos`, for CHAOS_ROUNDS rounds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from credit_local_stack import Stack
from credit_service.postgres.migrate import migrate
from support.locks import waiting_for_a_lock
from support.oracle import Oracle
from support.raw_batches import flip_a_byte
from support.service import Deployment, ServiceProcess
from support.traffic import Upstream, random_traffic, slices
from support.wait import eventually

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))

pytestmark = pytest.mark.local_stack

READ_ONLY = "the database takes no writes: it is read-only, SQLSTATE 25006"


async def says_that_is_away(service: ServiceProcess, what: str) -> bool:
    return what in await service.problems()


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """Servers that nobody else needs."""
    with Stack() as stack:
        yield stack


@pytest.fixture
async def deployment(own_stack: Stack, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    """On the servers of this module."""
    name = topic_prefix.rstrip("-")
    connection = await asyncpg.connect(own_stack.database_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = urlsplit(own_stack.database_url)._replace(path=f"/{name}").geturl()
    await asyncio.to_thread(migrate, url)
    async with Deployment(url, own_stack.bootstrap_servers, topic_prefix, tmp_path) as deployment:
        yield deployment


async def send_slowly(upstream: Upstream, seed: int, events: int) -> None:
    for part in slices(random_traffic(seed, events=events), 10):
        await upstream.send(part)


async def has_settled(oracle: Oracle) -> None:
    observed = await oracle.check(within_seconds=90)
    assert observed.dead_letters == []
    assert observed.gaps == []


@pytest.mark.xdist_group("own_stack")
async def test_postgres_killed_inside_a_transaction(own_stack: Stack, deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await (await deployment.start(batch_records_max="20")).ready()
    async with deployment.upstream() as upstream:
        sending = asyncio.create_task(send_slowly(upstream, 31, 600))
        await eventually(lambda: has_decided(service, 4))
        blocker = await asyncpg.connect(deployment.database_url)
        await blocker.execute("BEGIN; LOCK credits.decisions IN ACCESS EXCLUSIVE MODE")
        await upstream.send(random_traffic(33, events=10))
        await eventually(lambda: waiting_for_a_lock(blocker), what="inside a transaction")
        await asyncio.to_thread(own_stack.kill_postgres)
        blocker.terminate()
        await eventually(lambda: says_that_is_away(service, "database"), what="the service to say so")
        await sending
        await asyncio.to_thread(own_stack.start_postgres)
    await has_settled(deployment.oracle())
    await service.ready()
    assert sum(batch["retries"] for batch in service.logged("batch")) > 0
    assert await service.terminate() == 0


def has_decided(service: ServiceProcess, batches: int) -> bool:
    return len(service.logged("batch")) >= batches


@pytest.mark.xdist_group("own_stack")
async def test_a_batch_with_a_flipped_byte_holds_its_partition_alone(own_stack: Stack, deployment: Deployment) -> None:
    """A disk changes one byte of a batch: its checksum is wrong, until the byte is as it was."""
    await deployment.make_topics()
    service = await (await deployment.start()).ready()
    traffic = random_traffic(41, events=300)
    async with deployment.upstream() as upstream:
        await upstream.send(traffic[:100])
        await deployment.oracle().drained()
        # Nobody reads the batch before its byte is flipped.
        assert await service.terminate() == 0
        place = await upstream.send_raw("prospect-transferred", b"a flipped byte", key=b"flipped")
        flip_a_byte(own_stack.data / "kafka", *place)
        service = await deployment.start(faults="from credit_service.kafka import held; held.RETRY_SECONDS = 1.0")
        for part in slices(traffic[100:], 10):
            await upstream.send(part)
    named = "{}/{} at offset {} (CorruptRecordException)".format(*place)
    await eventually(lambda: says(service, "held", named), what="the partition held and named")
    await deployment.oracle().drained(but=["prospect-transferred"])

    flip_a_byte(own_stack.data / "kafka", *place)
    await service.ready()
    observed = await deployment.oracle().check()
    assert [(d["topic"], d["partition"], d["offset"]) for d in observed.dead_letters] == [place]
    assert service.logged("held partition is read again")
    assert await service.terminate() == 0


@asynccontextmanager
async def on_a_read_only_server(database_url: str) -> AsyncIterator[None]:
    """Sessions end; those that begin meanwhile stay read-only, as behind a proxy to the server of before."""
    name = urlsplit(database_url).path[1:]
    connection = await asyncpg.connect(database_url)
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
    try:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await connection.execute(others, name)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await connection.close()


async def says(service: ServiceProcess, part: str, words: str) -> bool:
    return words in (await service.problems()).get(part, "")


@pytest.mark.xdist_group("own_stack")
async def test_sessions_left_on_a_read_only_server(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await (await deployment.start(batch_records_max="20")).ready()
    async with deployment.upstream() as upstream:
        sending = asyncio.create_task(send_slowly(upstream, 35, 600))
        await eventually(lambda: has_decided(service, 4))
        async with on_a_read_only_server(deployment.database_url):
            await sending
            for part in ("ledger", "relay"):
                await eventually(partial(says, service, part, READ_ONLY), what=f"{part} to say so")
    await has_settled(deployment.oracle())
    await service.ready()
    assert await service.terminate() == 0


async def killed_under_load(own_stack: Stack, deployment: Deployment, rounds: int) -> None:
    """What is told at the end has to hold after each: what a kill has broken may be mended by the next."""
    await deployment.make_topics()
    service = await (await deployment.start(batch_records_max="20")).ready()
    async with deployment.upstream() as upstream:
        for round_ in range(rounds):
            more_batches = partial(has_decided, service, len(service.logged("batch")) + 4)
            sending = asyncio.create_task(send_slowly(upstream, 37 + round_, 900))
            await eventually(more_batches)
            await asyncio.to_thread(own_stack.kill_kafka)
            await eventually(lambda: says_that_is_away(service, "kafka"), what="the service to say so")
            await asyncio.to_thread(own_stack.start_kafka)
            await sending
            await has_settled(deployment.oracle())
    await service.ready()
    assert await service.terminate() == 0


@pytest.mark.xdist_group("own_stack")
async def test_broker_killed_under_load(own_stack: Stack, deployment: Deployment) -> None:
    await killed_under_load(own_stack, deployment, rounds=1)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
async def test_broker_killed_under_load_many_times(own_stack: Stack, deployment: Deployment) -> None:
    await killed_under_load(own_stack, deployment, ROUNDS)

"""A real PgBouncer between the service and Postgres: one that leaves sessions alone, and those that do not."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from credit_service.application.errors import SessionsShared
from credit_service.postgres.address import Address
from credit_service.postgres.pool import open_pool
from credit_service.postgres.session import READ_ONLY, SESSION, connect
from support.credits import run_credits
from support.pgbouncer import pgbouncer_before
from support.reconciled import reconcile
from support.service import Deployment
from support.traffic import random_traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHARED = (
    "CREDITS_{}DATABASE_URL: a pooler in transaction or statement mode gives each transaction another session; "
    "the address must be that of the server itself, or of a pooler in session mode"
)
SHARING = ("transaction", "statement")
COMMANDS = (
    "serve",
    "migrate",
    "doctor",
    "account show acme",
    "account list",
    "account entries acme",
    "explain acme",
    "reconcile",
    "reconcile --repair --reason r --yes",
    "refunds list",
    "refunds approve acme 1 --reason r --yes",
    "outbox list",
    "outbox retry 1 --reason r",
    "dead-letters list",
    "dead-letters retry --all --reason r --yes",
    "adjust acme +1 --id one --reason r --yes",
    "replay --reason r --yes",
    "resume email-bounced",
    "skip email-bounced 0 --to 1 --reason r",
)


async def test_all_settings_of_a_session_hold_behind_a_pooler(database_url: str, tmp_path: Path) -> None:
    async with pgbouncer_before(database_url, "session", tmp_path) as url:
        async with open_pool(url, 1, is_read_only=True) as pool, pool.acquire() as connection:
            behind = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in SESSION}
            assert (
                await connection.fetchval("SHOW default_transaction_read_only")
                == READ_ONLY["default_transaction_read_only"]
            )
        # What PgBouncer is told at the start it would have refused, which is how a driver does it.
        with pytest.raises(asyncpg.ProtocolViolationError, match="unsupported startup parameter"):
            await asyncpg.connect(url, server_settings=SESSION)
    direct = await asyncpg.connect(database_url, server_settings=SESSION)
    assert behind == {name: await direct.fetchval("SELECT current_setting($1)", name) for name in SESSION}
    await direct.close()


async def test_settings_of_one_session_are_not_left_to_the_next_client(database_url: str, tmp_path: Path) -> None:
    async with pgbouncer_before(database_url, "session", tmp_path) as url:
        ours = await connect(url, statement_timeout="1234ms")
        backend = await ours.fetchval("SELECT pg_backend_pid()")
        await ours.close()
        # Two lie in the pool: that one, and the one that it was held against.
        theirs = [await asyncpg.connect(url) for _ in range(2)]
        assert backend in [await one.fetchval("SELECT pg_backend_pid()") for one in theirs]
        assert [await one.fetchval("SHOW statement_timeout") for one in theirs] == ["0", "0"]
        for one in theirs:
            await one.close()


async def test_the_service_and_its_commands_work_behind_a_pooler_in_session_mode(
    deployment: Deployment, tmp_path: Path
) -> None:
    await deployment.make_topics()
    async with pgbouncer_before(deployment.database_url, "session", tmp_path) as url:
        service = await deployment.start(database_url=url)
        async with deployment.upstream() as upstream:
            await upstream.send(random_traffic(29, events=300))
        await deployment.oracle().check()
        assert await service.problems() == {}
        direct, deployment.database_url = deployment.database_url, url
        assert (await reconcile(deployment)).found == set()
        deployment.database_url = direct
        assert await service.terminate() == 0


@pytest.mark.parametrize("mode", SHARING)
async def test_a_pooler_that_shares_sessions_is_told_at_once_by_all_that_connect(
    deployment: Deployment, mode: str, tmp_path: Path
) -> None:
    await deployment.make_topics(partitions=1)
    async with pgbouncer_before(deployment.database_url, mode, tmp_path) as url:
        kafka = {"kafka_bootstrap_servers": deployment.kafka, "topic_prefix": deployment.prefix}
        settings = kafka | {"kafka_group_id": deployment.group, "database_url": url}
        for command in COMMANDS:
            done = await asyncio.to_thread(run_credits, *command.split(), folder=tmp_path, **settings)
            assert (done.returncode, done.stdout, done.stderr) == (2, "", f"credits: {SHARED.format('')}\n"), command


@pytest.mark.parametrize("role", ["relay", "read"])
async def test_the_address_of_each_role_is_looked_at_before_the_service_begins(
    database_url: str, kafka: str, topic_prefix: str, role: str, tmp_path: Path
) -> None:
    async with pgbouncer_before(database_url, "transaction", tmp_path) as url:
        settings = {"database_url": database_url, f"{role}_database_url": url, "kafka_bootstrap_servers": kafka}
        done = await asyncio.to_thread(
            run_credits, "serve", folder=tmp_path, topic_prefix=topic_prefix, http_port=0, health_port=0, **settings
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"credits: {SHARED.format(f'{role.upper()}_')}"


@asynccontextmanager
async def others_at_work(url: str, clients: int) -> AsyncIterator[None]:
    """So many clients take sessions of the pool and give them back all the time."""

    async def work() -> None:
        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            while True:
                await connection.execute("SELECT pg_sleep(0.001)")
        finally:
            connection.terminate()

    tasks = [asyncio.create_task(work()) for _ in range(clients)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("mode", SHARING)
async def test_sessions_that_are_shared_are_noticed_whoever_else_uses_them(
    database_url: str, mode: str, tmp_path: Path
) -> None:
    async with pgbouncer_before(database_url, mode, tmp_path) as url, others_at_work(url, 6):
        for _ in range(20):
            with pytest.raises(SessionsShared):
                await connect(Address(url))


async def test_sessions_of_ones_own_are_never_held_to_be_shared(database_url: str, tmp_path: Path) -> None:
    async with pgbouncer_before(database_url, "session", tmp_path) as url, others_at_work(url, 6):
        for _ in range(20):
            await (await connect(Address(url))).close()

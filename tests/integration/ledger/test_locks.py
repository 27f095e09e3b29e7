"""Members that need the same accounts at one moment wait in one order, and end as if one had come after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime

import asyncpg
import pytest

from credit_service.application.errors import LedgerUnavailable
from credit_service.domain.event import Wake
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from support.locks import waiting_for_a_lock
from support.patience import patience
from support.wait import eventually

NOW = datetime.now(UTC)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[PostgresLedger]:
    async with open_pool(database_url) as pool:
        yield PostgresLedger(pool, unparked_max=1)


@pytest.fixture
async def connection(database_url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def load(ledger: PostgresLedger, *names: str) -> list[str]:
    """A transaction that needs these accounts and nothing else."""
    async with ledger.transaction() as transaction:
        return sorted(await transaction.lock_and_load([Wake(name, NOW, 1) for name in names]))


async def while_open(
    ledger: PostgresLedger,
    connection: "asyncpg.Connection[asyncpg.Record]",
    first: list[str],
    second: Awaitable[object],
) -> object:
    """What comes of `second` when it has to wait for a transaction that needs the accounts `first`."""
    async with ledger.transaction() as transaction:
        await transaction.lock_and_load([Wake(name, NOW, 1) for name in first])
        waits = asyncio.ensure_future(second)
        await eventually(lambda: waiting_for_a_lock(connection))
    return (await asyncio.gather(waits, return_exceptions=True))[0]


async def test_who_finds_an_account_opened_by_another_begins_again(
    ledger: PostgresLedger, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    first = await while_open(ledger, connection, ["b"], load(ledger, "a", "b"))
    assert isinstance(first, LedgerUnavailable)
    # Nothing is left of the attempt, and the next one finds the account.
    assert [row["account_id"] for row in await connection.fetch("SELECT account_id FROM credits.accounts")] == ["b"]
    assert await load(ledger, "a", "b") == ["a", "b"]


async def test_who_needs_an_account_that_is_locked_waits_for_it(
    ledger: PostgresLedger, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await load(ledger, "a", "b")
    assert await while_open(ledger, connection, ["b", "c"], load(ledger, "a", "b", "d")) == ["a", "b", "d"]


async def test_many_that_open_the_same_accounts_wait_for_nobody_that_waits_for_them(
    ledger: PostgresLedger, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    faults = set()

    async def until_loaded(*names: str) -> None:
        while True:
            try:
                await load(ledger, *names)
            except LedgerUnavailable as error:
                faults.add(str(error))
            else:
                return

    names = [f"account-{n}" for n in range(60)]
    async with asyncio.timeout(patience(60)), asyncio.TaskGroup() as group:
        for member in range(4):
            for at in range(0, 60, 5):
                together = names[at : at + 15 + member]
                group.create_task(until_loaded(*(together if member % 2 else reversed(together))))
    assert await connection.fetchval("SELECT count(*) FROM credits.accounts") == len(names)
    assert not any("Deadlock" in fault for fault in faults), faults

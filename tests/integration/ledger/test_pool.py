"""Connections that come back to the pool."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from credit_service.application.errors import LedgerUnavailable
from credit_service.postgres import failover, session
from credit_service.postgres import pool as pool_module
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.pool import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from credit_service.postgres.pool import Connection, Pool

PROMISED_SECONDS_MAX = 15


async def last_statement_after_use(database_url: str) -> str:
    """What a session was told last, once its connection is back in the pool."""
    async with open_pool(database_url, 1) as pool:
        for _ in range(2):
            async with pool.acquire() as connection:
                session = await connection.fetchval("SELECT pg_backend_pid()")
        other = await asyncpg.connect(database_url)
        try:
            statement: str = await other.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", session)
        finally:
            await other.close()
        return statement


async def test_a_connection_comes_back_without_a_word(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PLANS_KEPT_SECONDS", 3600.0)

    assert await last_statement_after_use(database_url) == "SELECT pg_backend_pid()"


async def test_plans_are_made_anew_now_and_then(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PLANS_KEPT_SECONDS", 0.0)

    assert await last_statement_after_use(database_url) == "DISCARD PLANS"


async def test_a_transaction_that_is_left_open_by_an_error_ends_with_its_session(database_url: str) -> None:
    met: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: met.append(context["message"]))
    began = asyncio.Event()

    async def work(pool: Pool) -> None:
        async with pool.acquire() as connection, connection.transaction():
            began.set()
            await connection.execute("SELECT pg_sleep(60)")

    async with open_pool(database_url, 1) as pool:
        task = asyncio.create_task(work(pool))
        await began.wait()
        for _ in range(2):  # while it works, and while it rolls back
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await pool.fetchval("SELECT 1") == 1
    gc.collect()
    assert met == []


async def test_a_session_that_is_ended_within_a_transaction_is_not_reset(database_url: str) -> None:
    met: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: met.append(context["message"]))

    async def ends_its_session() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def meets_its_end() -> None:
        async with pool.acquire() as connection:
            await connection.execute("BEGIN")
            # As asyncpg says it between the server's last word and the end of the connection.
            raise asyncpg.InternalClientError

    async with open_pool(database_url, 1) as pool:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await ends_its_session()
        with pytest.raises(asyncpg.InternalClientError):
            await meets_its_end()
        assert await pool.fetchval("SELECT 1") == 1
    gc.collect()
    assert met == []


# --- sessions whose server is no longer the one that decides

FAILS = "DO $$ BEGIN RAISE EXCEPTION 'as it happens' USING ERRCODE = '{}'; END $$"


async def sessions_of(pool: Pool, number: int) -> set[int]:
    """What the pool gives to so many who ask at the same time."""
    async with AsyncExitStack() as held:
        connections = [await held.enter_async_context(pool.acquire()) for _ in range(number)]
        return {await connection.fetchval("SELECT pg_backend_pid()") for connection in connections}


async def fail(connection: Connection | Pool, sqlstate: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute(FAILS.format(sqlstate))
    assert caught.value.sqlstate == sqlstate


LOST = ["08000", "08001", "08003", "08004", "08006", "08007", "08P01"]


@pytest.mark.parametrize("sqlstate", ["25006", "57P01", "57P02", "57P03", "57P04", "57P05", *LOST])
async def test_a_server_that_is_read_only_or_ends_is_left_with_all_sessions(database_url: str, sqlstate: str) -> None:
    async with (
        open_pool(database_url, 3) as pool,
        open_pool(database_url, 1, is_read_only=True, grouped_with=pool) as reads,
    ):
        before = await sessions_of(pool, 3) | await sessions_of(reads, 1)

        await fail(pool, sqlstate)

        after = await sessions_of(pool, 3) | await sessions_of(reads, 1)
        assert len(before) == len(after) == 4
        assert not before & after


@pytest.mark.parametrize("sqlstate", ["23505", "40001", "57014"])
async def test_a_session_is_kept_after_any_other_error(database_url: str, sqlstate: str) -> None:
    async with open_pool(database_url, 3) as pool:
        before = await sessions_of(pool, 3)
        await fail(pool, sqlstate)
        assert await sessions_of(pool, 3) == before


async def test_a_session_that_was_in_use_meanwhile_ends_when_it_comes_back(database_url: str) -> None:
    async with open_pool(database_url, 2) as pool:
        async with pool.acquire() as used:
            session = await used.fetchval("SELECT pg_backend_pid()")
            await fail(pool, "25006")
            # Whoever has it may finish.
            assert await used.fetchval("SELECT pg_backend_pid()") == session
        assert session not in await sessions_of(pool, 2)


async def fail_as_the_application_sees_it(pool: Pool, sqlstate: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        with translated_errors():
            await connection.execute(FAILS.format(sqlstate))


async def test_what_a_transaction_met_counts_whatever_is_raised_of_it(database_url: str) -> None:
    async with open_pool(database_url, 1) as pool:
        before = await sessions_of(pool, 1)
        with pytest.raises(LedgerUnavailable):
            await fail_as_the_application_sees_it(pool, "57P01")
        assert await sessions_of(pool, 1) != before


async def test_a_session_that_the_server_ends_takes_the_others_with_it(database_url: str) -> None:
    async with open_pool(database_url, 3) as pool:
        before = await sessions_of(pool, 3)
        with pytest.raises(asyncpg.PostgresError):
            await pool.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert not before & await sessions_of(pool, 3)


@asynccontextmanager
async def proxy_before(database_url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Its address, and what has it swallow all that comes over the connections that are open then."""
    behind = urlsplit(database_url)
    to_server, swallowing = set[asyncio.StreamWriter](), set[asyncio.StreamWriter]()
    entered = list[asyncio.Task[None]]()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65_536):
                if writer not in swallowing:
                    writer.write(chunk)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(behind.hostname, behind.port)
        to_server.add(inner_writer)
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        entered.append(asyncio.create_task(enter(reader, writer)))

    async with await asyncio.start_server(let_in, "127.0.0.1", 0) as server:
        address = f"{behind.netloc.rpartition('@')[0]}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield behind._replace(netloc=address).geturl(), lambda: swallowing.update(to_server)
        finally:
            for writer in to_server:
                writer.close()
            await asyncio.gather(*entered)


async def test_a_server_that_says_nothing_any_more_is_not_waited_for(database_url: str) -> None:
    async with proxy_before(database_url) as (url, swallow), open_pool(url, 3) as pool:
        before = await sessions_of(pool, 3)
        async with asyncio.timeout(PROMISED_SECONDS_MAX):
            async with pool.acquire() as used:
                with suppress(asyncpg.PostgresError):
                    await used.execute(FAILS.format("25006"))
                await fail(pool, "57P03")
                swallow()
            assert not before & await sessions_of(pool, 3)
        pool.terminate()


async def test_what_is_known_of_a_session_goes_with_it(database_url: str) -> None:
    async with open_pool(database_url, 1) as pool:
        for _ in range(3):
            await pool.execute("SELECT 1")
            await pool.end_sessions()
        gc.collect()
        assert len(pool._reset._next) == 0


@pytest.mark.parametrize("which", ["decides", "looks"])
async def test_servers_that_take_turns_where_one_only_looks_are_no_fail_over(
    database_url: str, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decides, looks = Address(database_url), Address(database_url)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    real = session.open_session

    async def open_session(address: Address, *given: Any, **options: Any) -> Any:
        nonlocal started
        connection, server = await real(address, *given, **options)
        if address is {"decides": decides, "looks": looks}[which]:
            started += timedelta(days=1)
            server = started
        return connection, server

    monkeypatch.setattr(pool_module, "open_session", open_session)
    async with open_pool(decides, 1) as pool, open_pool(looks, 1, is_read_only=True, grouped_with=pool) as reads:
        before = await sessions_of(pool, 1)
        for _ in range(3):
            await sessions_of(reads, 1)
            await reads.end_sessions()
        assert await sessions_of(pool, 1) == before
        assert pool.group.moved == 0

        await pool.end_sessions()
        await sessions_of(pool, 1)
        assert pool.group.moved == (which == "decides")


async def test_two_servers_that_take_turns_have_sessions_replaced_once_in_a_while(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decides, number = Address(database_url, variable="CREDITS_DATABASE_URL"), 0
    real = session.open_session

    async def open_session(*given: Any, **options: Any) -> Any:
        nonlocal number
        number += 1
        connection, _ = await real(*given, **options)
        return connection, datetime(2026, 1, 1 + number % 2, tzinfo=UTC)

    monkeypatch.setattr(pool_module, "open_session", open_session)
    at = urlsplit(database_url)
    line = {
        "event": "another server answers, sessions are replaced",
        "setting": "CREDITS_DATABASE_URL",
        "at": f"{at.hostname}:{at.port}",
        "log_level": "warning",
    }
    async with open_pool(decides, 2) as pool:
        with capture_logs() as lines:
            for _ in range(2):
                await pool.probe_server()
            for _ in range(2):
                with pytest.raises(LedgerUnavailable, match="57P03"):
                    await pool.probe_server()
                await pool.probe_server()
        assert (pool.replaced, pool.group.moved) == (1, 1)
        assert lines == [line]

        monkeypatch.setattr(failover, "REPLACED_EVERY_SECONDS", 0.0)
        with capture_logs() as lines:
            for _ in range(2):
                await pool.probe_server()
        assert pool.replaced == 3
        assert lines == [line, line]

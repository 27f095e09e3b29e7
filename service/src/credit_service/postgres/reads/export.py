"""Rows by the million: one snapshot, a cursor on the server, a block of rows at a time."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.export import (
    ExportedAccount,
    ExportedEntry,
    UnknownAccount,
    WhichAccounts,
    WhichEntries,
)
from credit_service.postgres.address import Address
from credit_service.postgres.ids import unpacked
from credit_service.postgres.pool import CONNECT_TIMEOUT_SECONDS, READ_ONLY, connect, faults_named
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg

BLOCK_SECONDS_MAX = 1_800
# Whoever reads may be a person with a pager; a snapshot that is never let go keeps the database from tidying up.
IDLE_MAX = "1h"
ACCOUNT_NO_MAX = 2**31 - 1
ID_CHARACTERS_MAX = 128
PROSPECT_ID, CAUSE_TYPE = ExportedEntry._fields.index("prospect_id"), ExportedEntry._fields.index("cause_type")
LAST_CHARACTER = "\U0010ffff"


@asynccontextmanager
async def long_reads(where: Address | str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection of its own for reading that takes long, which a connection of the pool would be ended for.

    Raises `LedgerUnavailable`.
    """
    connection = await connect(
        where,
        statement_timeout=f"{BLOCK_SECONDS_MAX}s",
        idle_in_transaction_session_timeout=IDLE_MAX,
        # What is sorted or added up is all of an account.
        work_mem="64MB",
        **READ_ONLY,
    )
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)
        except (TimeoutError, OSError):
            connection.terminate()


@asynccontextmanager
async def snapshot(connection: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """All that is read within is of one moment. What is raised within goes through as it is.

    Raises `LedgerUnavailable`.
    """
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    with faults_named():
        await transaction.start()
    try:
        yield
    finally:
        # Nothing was written: to give it up is to end it, and whoever lost the connection has nothing to end.
        if not connection.is_closed():
            with faults_named():
                await transaction.rollback()


async def blocks(
    connection: "asyncpg.Connection[asyncpg.Record]",
    statement: str,
    *arguments: object,
    rows: int | None = None,
) -> "AsyncGenerator[list[asyncpg.Record]]":
    """The rows of `statement`, a block of `rows` at a time, within the transaction; raises `LedgerUnavailable`."""
    rows = rows or bounds.EXPORT_BLOCK_ROWS
    with faults_named():
        cursor = await connection.cursor(sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX)
    while True:
        with faults_named():
            block = await cursor.fetch(rows, timeout=BLOCK_SECONDS_MAX)
        if block:
            yield block
        if len(block) < rows:
            return


class PostgresExports:
    """The application's `Exports` on a connection of `long_reads`."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def accounts(self, which: WhichAccounts) -> AsyncGenerator[list[ExportedAccount]]:
        """See `application.export.Exports`."""
        # Behind every id that begins so, in the one order of ids.
        last = which.prefix + LAST_CHARACTER * ID_CHARACTERS_MAX
        asked = (which.prefix, last, which.below, which.is_unlimited, which.plan_id, which.has_parked, which.limit)
        async with snapshot(self._connection), aclosing(blocks(self._connection, "export_accounts", *asked)) as found:
            async for block in found:
                yield [ExportedAccount(*row) for row in block]

    async def entries(self, which: WhichEntries) -> AsyncGenerator[list[ExportedEntry]]:
        """See `application.export.Exports`."""
        async with snapshot(self._connection):
            first, last = 0, ACCOUNT_NO_MAX
            if which.account_id is not None:
                with faults_named():
                    account = await self._connection.fetchrow(sql("read_sequence"), which.account_id)
                if account is None:
                    raise UnknownAccount
                first = last = account["account_no"]
            asked = (first, last, which.since, which.until, which.reason)
            async with aclosing(blocks(self._connection, "export_entries", *asked)) as found:
                async for block in found:
                    yield [_entry(row) for row in block]


def _entry(row: "asyncpg.Record") -> ExportedEntry:
    prospect_id = row[PROSPECT_ID]
    told = (None if prospect_id is None else unpacked(prospect_id), row["source"], unpacked(row["id"]))
    return ExportedEntry._make((*row[:PROSPECT_ID], *told, *row[CAUSE_TYPE:]))

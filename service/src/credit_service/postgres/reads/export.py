"""Exports of millions of rows: one snapshot, a cursor on the server, a block of rows at a time."""

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
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.ids import unpacked
from credit_service.postgres.session import CONNECT_TIMEOUT_SECONDS, READ_ONLY, connect
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg

BLOCK_SECONDS_MAX = 1_800
# The reader may be a person with a pager; a snapshot that never ends keeps the database from vacuuming.
IDLE_MAX = "1h"
ACCOUNT_NO_MAX = 2**31 - 1
ID_CHARACTERS_MAX = 128
PROSPECT_ID, CAUSE_TYPE = ExportedEntry._fields.index("prospect_id"), ExportedEntry._fields.index("cause_type")
LAST_CHARACTER = "\U0010ffff"


@asynccontextmanager
async def long_reads(where: Address | str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection outside the pool for long reads, which would exceed the timeouts of the pool's sessions.

    Raises `LedgerUnavailable`.
    """
    connection = await connect(
        where,
        statement_timeout=f"{BLOCK_SECONDS_MAX}s",
        idle_in_transaction_session_timeout=IDLE_MAX,
        # Sorts and sums cover all rows of an account.
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
    """A transaction in which all reads see one moment; errors from the block pass through unchanged.

    Raises `LedgerUnavailable`.
    """
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    with translated_errors():
        await transaction.start()
    try:
        yield
    finally:
        # Nothing was written, so a rollback ends it; a lost connection has no transaction to end.
        if not connection.is_closed():
            with translated_errors():
                await transaction.rollback()


async def blocks(
    connection: "asyncpg.Connection[asyncpg.Record]",
    statement: str,
    *arguments: object,
    rows: int | None = None,
) -> "AsyncGenerator[list[asyncpg.Record]]":
    """The rows of `statement`, a block of `rows` at a time, within the transaction; raises `LedgerUnavailable`."""
    rows = rows or bounds.EXPORT_BLOCK_ROWS
    with translated_errors():
        cursor = await connection.cursor(sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX)
    while True:
        with translated_errors():
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
        # Sorts after every id with this prefix.
        last = which.prefix + LAST_CHARACTER * ID_CHARACTERS_MAX
        arguments = (which.prefix, last, which.below, which.is_unlimited, which.plan_id, which.has_parked, which.limit)
        async with (
            snapshot(self._connection),
            aclosing(blocks(self._connection, "export_accounts", *arguments)) as found,
        ):
            async for block in found:
                yield [ExportedAccount(*row) for row in block]

    async def entries(self, which: WhichEntries) -> AsyncGenerator[list[ExportedEntry]]:
        """See `application.export.Exports`."""
        async with snapshot(self._connection):
            first, last = 0, ACCOUNT_NO_MAX
            if which.account_id is not None:
                with translated_errors():
                    account = await self._connection.fetchrow(sql("read_sequence"), which.account_id)
                if account is None:
                    raise UnknownAccount
                first = last = account["account_no"]
            arguments = (first, last, which.since, which.until, which.reason)
            async with aclosing(blocks(self._connection, "export_entries", *arguments)) as found:
                async for block in found:
                    yield [_entry(row) for row in block]


def _entry(row: "asyncpg.Record") -> ExportedEntry:
    prospect_id = row[PROSPECT_ID]
    cause = (None if prospect_id is None else unpacked(prospect_id), row["source"], unpacked(row["id"]))
    return ExportedEntry._make((*row[:PROSPECT_ID], *cause, *row[CAUSE_TYPE:]))

"""Reads from the one snapshot of an explanation."""

from typing import TYPE_CHECKING, Any

from credit_service.postgres.faults import translated_errors
from credit_service.postgres.reads.export import BLOCK_SECONDS_MAX
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg


class SnapshotReader:
    """Reads one row, all rows, or one value, each within a timeout; raises `LedgerUnavailable`."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection

    async def one(self, statement: str, *arguments: object) -> "asyncpg.Record | None":
        """The row, or None."""
        with translated_errors():
            return await self.connection.fetchrow(sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX)

    async def all(self, statement: str, *arguments: object) -> "list[asyncpg.Record]":
        """All rows, which are few."""
        with translated_errors():
            rows: list[asyncpg.Record] = await self.connection.fetch(
                sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX
            )
        return rows

    async def value(self, statement: str, *arguments: object) -> Any:
        """The one value."""
        with translated_errors():
            return await self.connection.fetchval(sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX)

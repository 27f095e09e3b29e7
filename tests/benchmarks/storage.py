"""What a run leaves in Postgres: bytes of tables and indexes, and bytes of its write-ahead log."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from benchmarks.deployment import Deployment

STATEMENT_SECONDS_MAX = 120
DRAIN_SECONDS_MAX = 20
LOOK_EVERY_SECONDS = 0.1

SIZES = """
SELECT relname AS name, pg_table_size(oid) AS table, pg_indexes_size(oid) AS indexes
FROM pg_class WHERE relnamespace = 'credits'::regnamespace AND relkind = 'r'
"""
WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS bytes, wal_fpi AS pages FROM pg_stat_wal"


@dataclass(frozen=True, slots=True)
class Wal:
    """What was written to the log: bytes, and how many images of whole pages are among them."""

    bytes: int
    page_images: int

    def since(self, before: Wal) -> Wal:
        """What came after `before`."""
        return Wal(self.bytes - before.bytes, self.page_images - before.page_images)


async def wal_written(deployment: Deployment) -> Wal:
    """All that the server has written to its log so far, for whichever database."""
    connection = await asyncpg.connect(deployment.database_url, command_timeout=STATEMENT_SECONDS_MAX)
    try:
        return Wal(*await connection.fetchrow(WAL))
    finally:
        await connection.close()


Sizes = dict[str, dict[str, int]]


async def sizes_of(deployment: Deployment, *, vacuumed: bool = False) -> Sizes:
    """Bytes by table of the service's schema, of the table and of its indexes; vacuumed with the outbox drained."""
    connection = await asyncpg.connect(deployment.database_url, command_timeout=STATEMENT_SECONDS_MAX)
    try:
        if vacuumed:
            await _drained(connection)
            await connection.execute("VACUUM")
            # It keeps the pages of the outbox's fullest moment: the same after a billion messages as after a thousand.
            await connection.execute("REINDEX TABLE credits.outbox")
        rows = await connection.fetch(SIZES)
    finally:
        await connection.close()
    return {row["name"]: {"table": row["table"], "indexes": row["indexes"]} for row in rows}


async def _drained(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    while await connection.fetchval("SELECT EXISTS (TABLE credits.outbox)"):
        if time.monotonic() > deadline:
            raise AssertionError(f"the outbox was not empty after {DRAIN_SECONDS_MAX} s")
        await asyncio.sleep(LOOK_EVERY_SECONDS)


def added(before: Sizes, after: Sizes) -> Sizes:
    """What was added, by table; tables to which nothing was added are left out."""
    grown = {name: {part: size - before[name][part] for part, size in after[name].items()} for name in after}
    return {name: parts for name, parts in grown.items() if any(parts.values())}

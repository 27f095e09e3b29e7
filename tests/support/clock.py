"""The ledger's clock, set by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# Timers wait so long for late messages.
GRACE = timedelta(seconds=10)

_REPLACED = """
CREATE TABLE public.clock (at timestamptz NOT NULL);
INSERT INTO public.clock VALUES ('{at}');
CREATE OR REPLACE FUNCTION credits.ledger_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT at FROM public.clock);
"""


@dataclass
class Clock:
    """Of one database; says also how far the service has come by it."""

    _connection: Connection

    @classmethod
    @asynccontextmanager
    async def replacing(cls, database_url: str, at: datetime) -> AsyncIterator[Clock]:
        """In place of the database's own, standing at `at`."""
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(_REPLACED.format(at=at.isoformat()))
            yield cls(connection)
        finally:
            await connection.close()

    async def set(self, at: datetime) -> None:
        await self._connection.execute("UPDATE public.clock SET at = $1", at)

    async def taken_in(self) -> int:
        """How many messages were decided."""
        taken: int = await self._connection.fetchval(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM credits.partition_offsets"
        )
        return taken

    async def let_timers_happen(self, up_to: datetime, *, within_seconds: float = 60) -> None:
        """Waits until all that was due up to then has happened, once no late message is waited for any more."""
        await self.set(up_to + GRACE)

        async def has_happened() -> bool:
            due = await self._connection.fetchval("SELECT min(next_timer_at) FROM credits.accounts")
            return due is None or due > up_to

        await eventually(has_happened, within_seconds=within_seconds)

    async def waiting_requests(self) -> list[tuple[str, int]]:
        """The refund requests that nobody has decided: account and charge."""
        rows = await self._connection.fetch(
            """SELECT account_id, charge_sequence FROM credits.refund_requests JOIN credits.accounts USING (account_no)
            WHERE status = 'waiting' ORDER BY account_id, charge_sequence"""
        )
        return [(row["account_id"], row["charge_sequence"]) for row in rows]

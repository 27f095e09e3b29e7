"""The rows that are set aside from the outbox, and the operators' decisions on them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.outbox_desk import SetAsideRow
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.ledger.outbox import SET_ASIDE_LOCK
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Connection, Pool


class PostgresSetAsideRows:
    """The application's `SetAsideRows`."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def rows(self, ids: Sequence[int] | None, limit: int) -> list[SetAsideRow]:
        """See `application.outbox_desk.SetAsideRows`."""
        with translated_errors():
            found = await self._pool.fetch(
                sql("read_set_aside"), None if ids is None else list(ids), limit, bounds.COUNTED_MAX
            )
        return [SetAsideRow(**(dict(row) | {"age_seconds": max(0, int(row["age_seconds"]))})) for row in found]

    async def retry(self, ids: Sequence[int]) -> set[int]:
        """See `application.outbox_desk.SetAsideRows`."""
        async with self._locked(ids) as (connection, found):
            await connection.execute(sql("return_set_aside"), list(found), _accounts(found))
        return set(found)

    async def drop(self, ids: Sequence[int], operator: str, reason: str) -> set[int]:
        """See `application.outbox_desk.SetAsideRows`."""
        async with self._locked(ids) as (connection, found):
            await connection.execute(sql("drop_set_aside"), list(found), operator, reason)
            await connection.execute(sql("return_set_aside"), [], _accounts(found))
        return set(found)

    @asynccontextmanager
    async def _locked(self, ids: Sequence[int]) -> "AsyncIterator[tuple[Connection, dict[int, bytes | None]]]":
        """A transaction that alone moves rows, with the keys of the accounts of those `ids` that are set aside."""
        with translated_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(sql("lock_set_aside"), SET_ASIDE_LOCK)
                rows = await connection.fetch(sql("read_set_aside_keys"), list(ids))
                yield connection, {row["outbox_id"]: row["key"] for row in rows}


def _accounts(found: dict[int, bytes | None]) -> list[bytes]:
    return [key for key in found.values() if key is not None]

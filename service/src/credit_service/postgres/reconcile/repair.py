"""The writes of a repair, each in one transaction under its account's lock."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from credit_service.application.ports import WaitingEvent
from credit_service.domain.decision import Decision
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.ledger.store import restore_decision
from credit_service.postgres.session import connect
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from credit_service.postgres.pool import Connection, Pool


REPAIR_LOCK = 0x6372_6564_7265_7061


@asynccontextmanager
async def exclusive_repair(where: Address | str) -> "AsyncIterator[bool]":
    """True if no other repair runs, and no other one can start while the context lasts.

    A repair enters it before it searches: two repairs would otherwise publish the same missing event twice.
    """
    connection = await connect(where)
    try:
        with translated_errors():
            is_alone: bool = await connection.fetchval(sql("lock_repair"), REPAIR_LOCK)
        yield is_alone
    finally:
        await connection.close()


class PostgresRepairStore:
    """The application's `RepairStore` in Postgres."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def publish(self, event: WaitingEvent) -> bool:
        """See `application.reconcile.repair.RepairStore`."""
        async with self._locked(event.key.decode()) as (connection, _):
            row = (event.topic, event.key, event.event_id, event.event_time, event.payload)
            return await connection.fetchval(sql("repair_publish"), *row) is not None

    async def recount(self, account_id: str) -> None:
        """See `application.reconcile.repair.RepairStore`."""
        async with self._locked(account_id) as (connection, number):
            await connection.execute(sql("repair_grants"), number)
            await connection.execute(sql("repair_balance"), number)

    async def restore(self, decision: Decision) -> None:
        """See `application.reconcile.repair.RepairStore`."""
        async with self._locked(decision.account_id) as (connection, number):
            await restore_decision(connection, number, decision)

    @asynccontextmanager
    async def _locked(self, account_id: str) -> "AsyncIterator[tuple[Connection, int]]":
        with translated_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(sql("lock_accounts"), [account_id])
                if row is None:
                    raise LookupError("an account that was found is gone")
                yield connection, row["account_no"]

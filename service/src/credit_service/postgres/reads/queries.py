"""Read-only queries on the ledger: each answer is one consistent snapshot."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from credit_contracts.outgoing import Cause
from credit_service.application.queries import (
    AccountSnapshot,
    CurrentPeriod,
    DecidedEvent,
    EntriesPage,
    Entry,
    OpenGrant,
    ParkedEvent,
    PlanInForce,
    ReadPlace,
)
from credit_service.domain.idempotency import key_of
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.instants import with_zone
from credit_service.postgres.session import CONNECT_TIMEOUT_SECONDS
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from credit_service.postgres.pool import Connection, Pool


class PostgresReads:
    """The application's `Reads` in Postgres."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def ping(self) -> None:
        """Runs a trivial query; raises `LedgerUnavailable`."""
        with translated_errors():
            await self._pool.fetchval(sql("now"))

    async def account(self, account_id: str) -> AccountSnapshot | None:
        """See `application.queries.Reads`."""
        async with self._snapshot() as connection:
            row = await connection.fetchrow(sql("read_account"), account_id)
            if row is None:
                return None
            grants = await connection.fetch(sql("read_open_grants"), row["account_no"])
        return AccountSnapshot(
            account_id=row["account_id"],
            balance=None if row["unlimited"] else row["balance"],
            unlimited=row["unlimited"],
            sequence=row["sequence"],
            plan=_plan(row),
            period=_period(row),
            grants=[OpenGrant(**dict(grant) | {"expires_at": with_zone(grant["expires_at"])}) for grant in grants],
            declined_in_period=row["declined_in_period"],
        )

    async def entries(self, account_id: str, *, after: int, limit: int) -> EntriesPage | None:
        """See `application.queries.Reads`."""
        async with self._snapshot() as connection:
            account = await connection.fetchrow(sql("read_sequence"), account_id)
            if account is None:
                return None
            rows = await connection.fetch(sql("read_entries"), account["account_no"], after, limit)
        return EntriesPage(
            account_id=account_id,
            entries=[_entry(row) for row in rows],
            next_after=after + limit if after + limit < account["sequence"] else None,
        )

    async def event(self, account_id: str, source: str, event_id: str) -> DecidedEvent | ParkedEvent | None:
        """See `application.queries.Reads`."""
        async with self._snapshot() as connection:
            row = await connection.fetchrow(sql("read_event"), account_id, key_of(source, event_id))
        if row is None:
            return None
        place = None
        if row["partition"] is not None:
            place = ReadPlace(topic=row["type"], partition=row["partition"], offset=row["offset"])
        if row["parked_at"] is not None:
            return ParkedEvent(**dict(row) | {"place": place})
        return DecidedEvent(**dict(row) | {"place": place})

    @asynccontextmanager
    async def _snapshot(self) -> "AsyncIterator[Connection]":
        with translated_errors():
            async with (
                self._pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield connection


def _plan(row: "asyncpg.Record") -> PlanInForce | None:
    if row["plan_id"] is None:
        return None
    return PlanInForce(**{name: row[name] for name in PlanInForce.model_fields})


def _period(row: "asyncpg.Record") -> CurrentPeriod | None:
    if row["period_starts_at"] is None:
        return None
    return CurrentPeriod(starts_at=row["period_starts_at"], ends_at=row["period_ends_at"])


def _entry(row: "asyncpg.Record") -> Entry:
    source, event_id, event_type = row["source"], row["id"], row["type"]
    return Entry(**row, cause=Cause(source=source, id=event_id, type=event_type))

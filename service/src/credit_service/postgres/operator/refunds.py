"""Refund requests, read only."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.queries import ReadPlace
from credit_service.application.refunds.queries import (
    After,
    ChargeEntry,
    Page,
    PaidBy,
    RequestCause,
    RequestLine,
    ShownRequest,
    Waiting,
)
from credit_service.domain.decision import RequestStatus
from credit_service.domain.event import EARLIEST
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.session import CONNECT_TIMEOUT_SECONDS
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from credit_service.postgres.pool import Connection, Pool

FIRST = After(EARLIEST, 0, 0)
NO_ACCOUNT = 0
"""A number of no account."""


class PostgresRefundRequests:
    """The application's `RefundRequests` in Postgres."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def knows(self, account_id: str) -> bool:
        """See `application.refunds.queries.RefundRequests`."""
        return await self._number(account_id) != NO_ACCOUNT

    async def waiting(self, account_id: str | None) -> Waiting:
        """See `application.refunds.queries.RefundRequests`."""
        number = await self._number(account_id)
        with translated_errors():
            (row,) = await self._pool.fetch(sql("count_waiting_refund_requests"), number)
        return Waiting(*row)

    async def page(self, account_id: str | None, up_to: datetime, after: After | None, limit: int) -> Page:
        """See `application.refunds.queries.RefundRequests`."""
        number = await self._number(account_id)
        with translated_errors():
            rows = await self._pool.fetch(sql("read_waiting_refund_requests"), number, up_to, *(after or FIRST), limit)
        last = rows[-1] if len(rows) == limit else None
        next_after = After(last["requested_at"], last["account_no"], last["charge_sequence"]) if last else None
        return Page([_line(row) for row in rows], next_after)

    async def lines(
        self, status: RequestStatus | None, account_id: str | None, limit: int
    ) -> AsyncGenerator[Sequence[RequestLine]]:
        """See `application.refunds.queries.RefundRequests`."""
        number = await self._number(account_id)
        async with self._snapshot() as connection:
            if status == "waiting":
                now = await connection.fetchval(sql("now"))
                cursor = await connection.cursor(sql("read_waiting_refund_requests"), number, now, *FIRST, limit)
            else:
                cursor = await connection.cursor(sql("read_refund_requests"), number, status, limit)
            while rows := await cursor.fetch(bounds.REQUEST_LINES_BLOCK_ROWS):
                yield [_line(row) for row in rows]

    async def request(self, account_id: str, charge_sequence: int) -> ShownRequest | None:
        """See `application.refunds.queries.RefundRequests`."""
        async with self._snapshot() as connection:
            row = await connection.fetchrow(sql("read_refund_request"), account_id, charge_sequence)
            if row is None:
                return None
            positions = [row["charged_position"], row["asked_position"], row["decided_position"]]
            causes = {
                cause["position"]: _cause(cause)
                for cause in await connection.fetch(
                    sql("read_refund_causes"), row["account_no"], [p for p in positions if p is not None]
                )
            }
        charged, asked, decided = (causes.get(position) for position in positions)
        return ShownRequest(
            **_line(row).model_dump(),
            entry=None if row["recorded_at"] is None else ChargeEntry(**row),
            charged_by=charged,
            asked_by=asked,
            decided_by=decided,
            refund_sequence=row["refund_sequence"],
        )

    async def _number(self, account_id: str | None) -> int | None:
        """The number of the account; None for all accounts."""
        if account_id is None:
            return None
        with translated_errors():
            row = await self._pool.fetchrow(sql("read_sequence"), account_id)
        return NO_ACCOUNT if row is None else int(row["account_no"])

    @asynccontextmanager
    async def _snapshot(self) -> "AsyncIterator[Connection]":
        with translated_errors():
            async with (
                self._pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield connection


def _line(row: "asyncpg.Record") -> RequestLine:
    paid_by: PaidBy = "grant"
    if row["charge_sequence"] < 0:
        paid_by = "before-ledger"
    elif row["grant_id"] is None:
        paid_by = "unlimited"
    return RequestLine(**row, paid_by=paid_by)


def _cause(row: "asyncpg.Record") -> RequestCause:
    place = None
    if row["partition"] is not None:
        place = ReadPlace(topic=row["type"], partition=row["partition"], offset=row["offset"])
    return RequestCause(**row, place=place)

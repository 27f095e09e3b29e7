"""The outbox for its one leader; the leadership is an advisory lock that ends with the connection."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from credit_contracts.dead_letters import PUBLISHED_KEY_BYTES_MAX, PUBLISHED_VALUE_BYTES_MAX
from credit_service import bounds
from credit_service.application.errors import LedgerUnavailable
from credit_service.application.kept_record import Headers, headers_from_json
from credit_service.application.ports import (
    NOTHING_EXCLUDED,
    Claim,
    Excluded,
    OutboxSession,
    WaitingDeadLetter,
    WaitingEvent,
)
from credit_service.application.processing.outgoing_record import published_headers
from credit_service.domain.event import Place
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.session import connect
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg

    from credit_service.postgres.pool import Connection, FailoverPool

CHANNEL = "credits_outbox"
LEADER_LOCK = 0x63726564  # "cred"
SET_ASIDE_LOCK = 0x6372_6564_6173_6964
# A frozen leader loses the lock; a working one sends statements far more often.
LEADER_IDLE_TIMEOUT = "30s"


class PostgresOutbox:
    """The application's `Outbox` in Postgres."""

    def __init__(self, where: Address | str, pool: "FailoverPool") -> None:
        self._address = Address.of(where)
        self._pool = pool

    @asynccontextmanager
    async def lead(self, rung: Callable[[], None]) -> AsyncIterator[OutboxSession | None]:
        """See `application.ports.Outbox`."""
        moved = self._pool.group.moved
        connection = await connect(self._address, idle_session_timeout=LEADER_IDLE_TIMEOUT)
        try:
            with translated_errors():
                leads = await connection.fetchval(sql("try_outbox_leadership"), LEADER_LOCK)
                if leads:
                    await connection.add_listener(CHANNEL, lambda *_: rung())
            yield PostgresOutboxSession(connection, lambda: self._pool.group.moved != moved) if leads else None
        finally:
            # Ends the lock at once; a graceful close could wait for a server that is gone.
            connection.terminate()

    async def notify(self) -> None:
        """See `application.ports.Outbox`."""
        with translated_errors():
            await self._pool.execute(sql("notify_outbox"), CHANNEL)


class PostgresOutboxSession:
    """The application's `OutboxSession` on the leader's connection."""

    def __init__(self, connection: "Connection", is_left: Callable[[], bool] = lambda: False) -> None:
        self._connection = connection
        self._is_left = is_left

    async def left_over(self) -> Claim | None:
        """See `application.ports.OutboxSession`."""
        with translated_errors():
            rows = await self._connection.fetch(sql("load_claim"), *_published_max())
        # A row without a topic stands for a claim whose rows are gone.
        return _claim(str(rows[0]["claim_id"]), [row for row in rows if row["topic"] is not None]) if rows else None

    async def claim(self, rows_max: int, bytes_max: int, but: Excluded = NOTHING_EXCLUDED) -> Claim | None:
        """See `application.ports.OutboxSession`."""
        if self._is_left():
            raise LedgerUnavailable("another server answers, and this session is on the old one")
        left_out = (list(but.topics), list(but.ids), list(but.keys))
        while True:
            claim_id = uuid.uuid4()
            with translated_errors():
                rows = await self._connection.fetch(
                    sql("claim_outbox"), claim_id, rows_max, bytes_max, *_published_max(), *left_out
                )
                claimed = [row for row in rows if not row["waits"]]
                # Moved away, so that no later claim reads past them.
                had_to_wait = len(claimed) < len(rows) and await self._queue_behind_set_aside(*left_out)
            if claimed:
                return _claim(str(claim_id), claimed, is_cut=rows[0]["is_cut"] or len(claimed) < len(rows))
            if not had_to_wait:
                return None

    async def _queue_behind_set_aside(self, *left_out: list[Any]) -> bool:
        async with self._connection.transaction():
            # A statement of its own: the next one sees all rows that were returned before it had the lock.
            await self._connection.execute(sql("lock_set_aside"), SET_ASIDE_LOCK)
            moved: str = await self._connection.execute(sql("queue_behind_set_aside"), bounds.CLAIM_ROWS_MAX, *left_out)
        return moved != "INSERT 0 0"

    async def set_aside(self, outbox_id: int, cause: str) -> None:
        """See `application.ports.OutboxSession`."""
        with translated_errors():
            await self._connection.execute(sql("set_aside_outbox_row"), outbox_id, cause)

    async def published(self, claim: Claim) -> None:
        """See `application.ports.OutboxSession`."""
        with translated_errors():
            await self._connection.execute(sql("finish_claim"), claim.claim_id)

    async def not_published(self, claim: Claim) -> None:
        """See `application.ports.OutboxSession`."""
        with translated_errors():
            await self._connection.execute(sql("drop_claim"), claim.claim_id)


def _published_max() -> tuple[int, int, int]:
    """The bytes of value, key and headers up to which they are read for publishing."""
    # Stored as JSON, headers take up to six times the bytes of the record.
    return PUBLISHED_VALUE_BYTES_MAX, PUBLISHED_KEY_BYTES_MAX, 6 * bounds.ORIGINAL_HEADERS_BYTES_MAX


def _claim(claim_id: str, rows: "list[asyncpg.Record]", *, is_cut: bool = False) -> Claim:
    return Claim(claim_id, [_waiting(row) for row in rows], [row["outbox_id"] for row in rows], is_cut)


def _waiting(row: "asyncpg.Record") -> WaitingEvent | WaitingDeadLetter:
    if row["payload"] is not None:
        return WaitingEvent(row["topic"], row["key"], row["event_id"], row["event_time"], row["payload"], row["trace"])
    headers: tuple[Headers, int | None, str | None] = (), row["headers_bytes"], row["headers_sha256"]
    if row["headers"] is not None:
        headers = published_headers(headers_from_json(row["headers"]), row["headers"])
    return WaitingDeadLetter(
        row["topic"],
        Place(row["origin_topic"], row["partition"], row["offset"]),
        row["reason"],
        row["detail"],
        row["created_at"],
        row["key"],
        row["key_bytes"],
        row["key_sha256"],
        row["value"],
        row["value_bytes"],
        row["value_sha256"],
        *headers,
    )

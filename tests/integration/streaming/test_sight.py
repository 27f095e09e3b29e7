"""The backlog that the watch reads is that of the database, up to a limit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from credit_service import bounds
from credit_service.application.health_ports import Backlog
from credit_service.postgres import pool as pool_module
from credit_service.postgres.address import Address
from credit_service.postgres.health import probe as sight_module
from credit_service.postgres.health.probe import PostgresProbe
from credit_service.postgres.pool import FailoverPool, open_pool
from support.wait import eventually

# Each as often as no other.
WAITS = """
INSERT INTO credits.accounts (account_id, partition_hash, anchor_at, time_zone, period_number, period_starts_at,
    period_ends_at, next_timer_at)
SELECT 'a' || n, n, now(), 'UTC', 0, now(), now() + interval '1 month',
    now() + interval '30 s' - n * interval '1 minute'
FROM generate_series(0, 8) AS n;
INSERT INTO credits.outbox (topic, key, event_id, event_time, payload)
SELECT 'balance-changed', 'a', n::text, now() - interval '90 s', '{}' FROM generate_series(1, 6) AS n;
INSERT INTO credits.parked_events (account_no, key, content, source, id, type, occurred_at, type_rank, data,
    partition, "offset", parked_at)
SELECT (SELECT min(account_no) FROM credits.accounts), decode(md5(n::text), 'hex'), decode(md5('c'), 'hex'), '/s',
    n::text, 'prospect-generated', now(), 3, '{}', 0, n, now()
FROM generate_series(1, 5) AS n;
INSERT INTO credits.dead_letters (topic, partition, "offset", digest, reason, detail, headers, timestamp_ms, created_at)
SELECT 't', 0, n, decode(md5('d'), 'hex'), 'r', 'd', '[]', 0, now() FROM generate_series(1, 4) AS n;
INSERT INTO credits.refund_requests (account_no, charge_sequence, prospect_id, position, requested_at)
SELECT account_no, 1, 'p', 1, now() FROM credits.accounts ORDER BY account_no LIMIT 3;
INSERT INTO credits.offset_gaps (topic, partition, expected_offset, resumed_offset, log_end_offset, noticed_at)
SELECT 't', n, 0, 1, 2, now() FROM generate_series(1, 2) AS n;
INSERT INTO credits.paused_topics (topic, reason, paused_at) VALUES ('t', 'r', now());
INSERT INTO credits.accounts_filling (account_no, noted_at) SELECT n, now() FROM generate_series(1, 8) AS n;
"""


async def test_the_backlog_is_what_lies_there_up_to_the_limit(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pool(database_url) as pool:
        sight = PostgresProbe(pool)
        assert await sight.backlog() == Backlog(0, 0.0, 0, 0, 0, 0, 0, 0)

        connection = await asyncpg.connect(database_url)
        await connection.execute(WAITS)
        await connection.close()
        found = await sight.backlog()
        assert 90 <= found.outbox_oldest_seconds < 600
        assert found == Backlog(
            6, found.outbox_oldest_seconds, 5, 4, 3, 2, 1, timers_late=7, accounts_filling=8, last_account_no=9
        )

        monkeypatch.setattr(bounds, "COUNTED_MAX", 1)
        bounded = await sight.backlog()
        assert bounded == Backlog(1, bounded.outbox_oldest_seconds, 1, 1, 1, 1, 1, 1, 1, last_account_no=9)
        assert await sight.schema_problem() is None


SESSION = "SELECT pg_backend_pid()"


async def connected(sight: PostgresProbe) -> bool:
    return sight._connecting is not None and sight._connecting.done()


async def test_that_nobody_new_is_let_in_is_no_fault_of_a_session_that_works(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pool(database_url, 1) as pool:
        sight, session = PostgresProbe(pool), await pool.fetchval(SESSION)

        async def refused(*_: Any, **__: Any) -> None:
            raise asyncpg.TooManyConnectionsError("no more")

        monkeypatch.setattr(pool_module, "open_session", refused)
        with capture_logs() as lines:
            for _ in range(3):
                sight._connects_at = 0.0
                assert await sight.schema_problem() is None
                await eventually(lambda: connected(sight), what="a new connection was tried")
        told = {"event": "the database accepts no new connection", "log_level": "warning"}
        assert lines == [{"cause": "LedgerUnavailable: TooManyConnectionsError, SQLSTATE 53300", **told}]
        assert await pool.fetchval(SESSION) == session


async def test_a_new_connection_now_and_then_shows_that_another_server_answers(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight_module, "CONNECTS_EVERY_SECONDS", 0.0)
    where = Address(database_url)
    async with open_pool(where, 1) as pool, open_pool(where, 1, grouped_with=pool) as watched:
        sight, session = PostgresProbe(watched), await pool.fetchval(SESSION)

        async def looked_at() -> bool:
            await sight.schema_problem()
            return await connected(sight)

        await eventually(looked_at, what="the first look")
        assert await pool.fetchval(SESSION) == session
        monkeypatch.setattr(FailoverPool, "_open", another_server(FailoverPool._open))

        async def is_left() -> bool:
            await sight.schema_problem()
            return bool(await pool.fetchval(SESSION) != session)

        await eventually(is_left, what="the session is left")


def another_server(real: Any) -> Any:
    async def open_at_another(self: FailoverPool, **options: Any) -> Any:
        self.group._servers.clear()
        self.group._servers[self.address] = datetime(2026, 1, 1, tzinfo=UTC)
        return await real(self, **options)

    return open_at_another

"""Parked events expire where the first plan did not come, and only there."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool

PARKED = """
INSERT INTO credits.parked_events
    (account_no, key, content, source, id, type, occurred_at, type_rank, data, partition, "offset", parked_at)
SELECT 1, decode(lpad(to_hex(n), 32, '0'), 'hex'), decode(lpad('', 32, '0'), 'hex'), '/campaigns', n::text,
    'prospect-generated', now(), 3, '{"account_id": "acme", "prospect_id": "p"}', 0, n, now() - n * interval '1 hour'
FROM generate_series(1, 3) AS n
"""
PLAN_HAS_COME = """
UPDATE credits.accounts
SET anchor_at = now(), time_zone = 'UTC', period_number = 0, period_starts_at = now(),
    period_ends_at = now() + interval '1 month', next_timer_at = now() + interval '1 month'
"""


@pytest.mark.parametrize(
    ("plan_has_come", "numbers", "taken", "left"),
    [
        pytest.param(False, [0, 2], ["2", "3"], 1, id="no plan has come"),
        pytest.param(True, [0, 2], [], 3, id="the plan has come"),
        pytest.param(False, [1, 2], [], 3, id="the plan may lie in the backlog"),
    ],
)
async def test_what_waits_for_a_plan_expires(
    database_url: str, plan_has_come: bool, numbers: list[int], taken: list[str], left: int
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO credits.accounts (account_id, partition_hash, parked) VALUES ('acme', 0, 3)"
        )
        await connection.execute(PARKED)
        if plan_has_come:
            await connection.execute(PLAN_HAS_COME)
        async with (
            open_pool(database_url) as pool,
            PostgresLedger(pool, unparked_max=10).transaction() as transaction,
        ):
            expired = await transaction.take_expired(timedelta(minutes=90), numbers, 3, 10)

        assert sorted(event.id for event in expired) == taken
        assert await connection.fetchval("SELECT parked FROM credits.accounts") == left
        assert await connection.fetchval("SELECT count(*) FROM credits.parked_events") == left
    finally:
        await connection.close()

"""Migrations run forward on a database that earlier versions have filled, and its rows go on to count."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import count

import asyncpg
import pytest

from credit_contracts import EmailBounced, Event, IncomingData, ProspectDeleted, ProspectExported, ProspectGenerated
from credit_contracts.naming import topic_name
from credit_local_stack import Addresses
from credit_service.postgres.migrate import migrate
from support.credits import decide_events
from support.stack import fresh_database

MIGRATIONS = files("credit_service.postgres") / "migrations"
FIRST_RELEASE = ("20261123000001", "20261123000002")

# What the first release had written: ann was charged for, bob charged and refunded, of cy only a bounce is known.
ROWS = """
INSERT INTO credits.accounts (account_id, partition_hash, balance, sequence, position, last_grant_id, plan_position,
    anchor_at, time_zone, period_number, period_starts_at, period_ends_at, granted_in_period, next_timer_at)
VALUES ('acme', 0, 9, 4, 5, 1, 1, now() - interval '1 day', 'UTC', 0, now() - interval '1 day',
    now() + interval '27 days', 10, now() + interval '27 days');
INSERT INTO credits.decisions (account_id, position, key, content, content_version, source, id, type, outcome,
    occurred_at, decided_at, prospect_id)
SELECT 'acme', position, decode(md5(position::text), 'hex'), decode(md5('c'), 'hex'), 1, '/old', 'old-' || position,
    type::credits.event_type, outcome::credits.outcome, now() - interval '1 hour' * (6 - position), now(), prospect_id
FROM (VALUES
    (1, 'plan-changed', 'plan-in-force', NULL),
    (2, 'prospect-generated', 'charged', 'ann'),
    (3, 'prospect-exported', 'charged', 'bob'),
    (4, 'email-bounced', 'refunded', 'bob'),
    (5, 'email-bounced', 'awaiting-charge', 'cy')
) AS old (position, type, outcome, prospect_id);
INSERT INTO credits.plans (account_id, position, plan_id, monthly_credits, effective_at, occurred_at, pending)
VALUES ('acme', 1, 'p', 10, now() - interval '1 day', now() - interval '1 day', false);
INSERT INTO credits.grants (account_id, grant_id, origin, amount, remaining, effective_at, expires_at, open, position)
VALUES ('acme', 1, 'plan', 10, 9, now() - interval '1 day', now() + interval '27 days', true, 1);
INSERT INTO credits.entries (account_id, sequence, line, grant_id, amount, previous_balance, balance, reason, position,
    refunds_sequence, occurred_at, recorded_at)
VALUES
    ('acme', 1, 0, 1, 10, 0, 10, 'plan_change', 1, NULL, now() - interval '1 day', now()),
    ('acme', 2, 0, 1, -1, 10, 9, 'charge', 2, NULL, now() - interval '4 hours', now()),
    ('acme', 3, 0, 1, -1, 9, 8, 'charge', 3, NULL, now() - interval '3 hours', now()),
    ('acme', 4, 0, 1, 1, 8, 9, 'refund', 4, 3, now() - interval '2 hours', now());
INSERT INTO credits.prospects (account_id, prospect_id, origin, charge_sequence, charge_grant_id, refund_sequence,
    bounce_position)
VALUES
    ('acme', 'ann', 'generated', 2, 1, NULL, NULL),
    ('acme', 'bob', 'exported', 3, 1, 4, NULL),
    ('acme', 'cy', NULL, NULL, NULL, NULL, 5);
"""

_ids = count()


@pytest.fixture
async def old_database(stack: Addresses) -> AsyncIterator[str]:
    with fresh_database(stack.database_url, "template1") as url:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
            for version in FIRST_RELEASE:
                await connection.execute(_up(version))
                await connection.execute("INSERT INTO schema_migrations VALUES ($1)", version)
            await connection.execute(ROWS)
        finally:
            await connection.close()
        yield url


def _up(version: str) -> str:
    (found,) = [f for f in MIGRATIONS.iterdir() if f.name.startswith(version)]
    return found.read_text().partition("-- migrate:down")[0]


async def decide(url: str, *data: IncomingData) -> dict[str, str]:
    """What became of the new events, by type and prospect."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    events = [
        Event("/new", f"new-{next(_ids)}", topic_name(type(one)), now + timedelta(milliseconds=at), one)
        for at, one in enumerate(data)
    ]
    await decide_events(url, *events)
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT id, outcome::text FROM credits.decisions WHERE source = '/new'")
    finally:
        await connection.close()
    outcomes = {row["id"]: row["outcome"] for row in rows}
    return {f"{e.type} {getattr(e.data, 'prospect_id', '')}": outcomes[e.id] for e in events}


async def test_the_rows_of_the_first_release_go_on_to_count(old_database: str) -> None:
    migrate(old_database)

    assert await decide(
        old_database,
        EmailBounced(account_id="acme", prospect_id="ann"),
        ProspectExported(account_id="acme", prospect_id="ann"),
        EmailBounced(account_id="acme", prospect_id="bob"),
        ProspectGenerated(account_id="acme", prospect_id="cy"),
        ProspectDeleted(account_id="acme", prospect_id="bob"),
        ProspectGenerated(account_id="acme", prospect_id="bob"),
    ) == {
        "email-bounced ann": "refunded",
        "prospect-exported ann": "free",
        "email-bounced bob": "no-effect",
        "prospect-generated cy": "charged",
        "prospect-deleted bob": "deleted",
        "prospect-generated bob": "charged",
    }
    connection = await asyncpg.connect(old_database)
    try:
        # 9, and 1 for ann; cy's charge came with its refund, and bob was generated anew.
        assert await connection.fetchval("SELECT balance FROM credits.accounts") == 9
        refunds = await connection.fetch(
            "SELECT position, refunds_sequence FROM credits.entries WHERE reason = 'refund' ORDER BY sequence"
        )
        assert [tuple(row) for row in refunds] == [(4, 3), (6, 2), (5, 6)]
    finally:
        await connection.close()


async def test_migrating_again_changes_nothing(old_database: str) -> None:
    migrate(old_database)
    assert "Applying" not in migrate(old_database)

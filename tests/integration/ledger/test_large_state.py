"""What the benchmarks fill a large ledger with is what the service makes of the same events, and goes on as that does.

Only the places in Kafka and the times by the database's clock are not the same.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from benchmarks.large_state import Filled, State, fill
from benchmarks.mix import MONTHLY_CREDITS, SOURCE
from credit_contracts import (
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectExported,
    ProspectGenerated,
)
from credit_contracts.naming import topic_name
from credit_local_stack import Addresses
from support.credits import decide_events
from support.stack import fresh_database

STATE = State(accounts=200, charges_each=5)
# Long enough ago for a renewal to be due.
BEGAN = datetime.now(UTC) - timedelta(days=40)
TABLES = ("accounts", "decisions", "plans", "grants", "entries", "prospects")
NOT_THE_SAME = ["account_no", "decided_at", "recorded_at", "partition", "offset"]
ROWS = """
SELECT array_agg(concat(a.account_id, to_jsonb(t) - $1::text[]) ORDER BY a.account_id, to_jsonb(t) - $1::text[])
FROM credits.{table} AS t JOIN (SELECT account_id, account_no FROM credits.accounts) AS a USING (account_no)
"""
KEYS = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid
FROM pg_index
WHERE indrelid = any($1::regclass[])
ORDER BY 1
"""


@pytest.fixture
def other_database_url(stack: Addresses, database_template: str) -> Iterator[str]:
    """A second database, in which everything happens by events."""
    with fresh_database(stack.database_url, database_template) as url:
        yield url


async def rows_of(database_url: str) -> dict[str, list[str]]:
    """All rows of the ledger, as text."""
    connection = await asyncpg.connect(database_url)
    try:
        return {table: await connection.fetchval(ROWS.format(table=table), NOT_THE_SAME) for table in TABLES}
    finally:
        await connection.close()


async def keys_of(database_url: str) -> list[tuple[object, ...]]:
    """The indexes of the ledger's tables."""
    connection = await asyncpg.connect(database_url)
    try:
        return [tuple(row) for row in await connection.fetch(KEYS, [f"credits.{table}" for table in TABLES])]
    finally:
        await connection.close()


async def events_of(database_url: str) -> list[Event[IncomingData]]:
    """The events that the ledger says it has decided, in their order."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT * FROM credits.decisions_by_account ORDER BY occurred_at, position")
    finally:
        await connection.close()
    return [Event(row["source"], row["id"], row["type"], row["occurred_at"], _data(row)) for row in rows]


def _data(row: asyncpg.Record) -> IncomingData:
    if row["prospect_id"] is None:
        return PlanChanged(account_id=row["account_id"], plan_id="bench", monthly_credits=MONTHLY_CREDITS)
    return ProspectGenerated(account_id=row["account_id"], prospect_id=row["prospect_id"])


def later_events(filled: Filled) -> list[Event[IncomingData]]:
    """On some of the filled prospects and on new ones, before the renewal and after it."""
    events: list[Event[IncomingData]] = []

    def happens(data: IncomingData, days: int) -> None:
        at = BEGAN + timedelta(days=days, seconds=len(events))
        events.append(Event(SOURCE, f"later-{len(events)}", topic_name(type(data)), at, data))

    for days in (1, 39):
        for account, prospect in filled.charged[days : days + 20]:
            happens(ProspectExported(account_id=account, prospect_id=prospect), days)
            happens(EmailBounced(account_id=account, prospect_id=prospect), days)
            happens(ProspectGenerated(account_id=account, prospect_id=f"new-{days}"), days)
            happens(EmailBounced(account_id=account, prospect_id=f"new-{days}"), days)
    return events


async def outcomes_of(database_url: str, since_position: int) -> set[str]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT DISTINCT outcome::text AS outcome FROM credits.decisions WHERE position > $1", since_position
        )
    finally:
        await connection.close()
    return {row["outcome"] for row in rows}


async def test_a_filled_ledger_is_what_its_events_make_and_goes_on_alike(
    database_url: str, other_database_url: str
) -> None:
    filled = await fill(database_url, STATE, began=BEGAN)
    events = await events_of(database_url)
    assert len(events) == STATE.entries
    assert len(filled.accounts) == STATE.accounts
    await decide_events(other_database_url, *events)
    assert await rows_of(database_url) == await rows_of(other_database_url)
    assert await keys_of(database_url) == await keys_of(other_database_url)

    later = later_events(filled)
    for url in (database_url, other_database_url):
        await decide_events(url, *later, *events[-20:])
    assert await outcomes_of(database_url, 1 + STATE.charges_each) == {"charged", "free", "refunded", "renewed"}
    assert await rows_of(database_url) == await rows_of(other_database_url)

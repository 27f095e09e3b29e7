"""Every SQL file fits the migrated schema, and the hot ones find their rows by index on filled tables."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from credit_service import postgres
from credit_service.postgres.session import connect
from credit_service.postgres.statements import part_files, sql, statement_files
from support.patience import patience

STATEMENTS = list(statement_files())

# Run for every batch, or every second for ever.
HOT = [
    "accounts_with_due_timers",
    "accounts_to_unpark",
    "backlog",
    "claim_outbox",
    "delete_parked_events",
    "finish_claim",
    "load_claim",
    "load_decided",
    "load_grants",
    "load_offsets",
    "load_parked_events",
    "load_parked_keys",
    "load_plans",
    "load_prospects",
    "load_purchases",
    "load_repeats",
    "load_requests",
    "lock_accounts",
    "lock_offsets",
    "store_hot_columns",
    "overtake_requests",
    "decide_requests",
    "store_settled_plans",
    "store_accounts",
    "store_grants",
    "store_offsets",
    "store_prospects",
]

# One row a table, or a handful: there is nothing for an index to find.
TINY = {"outbox_claim", "finished", "paused_topics", "outbox_set_aside", "accounts_filling"}

# They take the first rows of an index, and look for none.
IN_ORDER = {"accounts_to_unpark", "backlog", "claim_outbox"}
WHOLE_INDEX = re.compile(r"Index (?:Only )?Scan using \w+ on (?:credits\.)?(\w+)[^\n]*\n(?! *Index Cond)")

# What an index finds by the account alone, and then looks through.
PART_OF_A_KEY = re.compile(r"Index Cond: \(account_no = [\w.]+\)\n +Filter: .*(?:position|key|prospect_id)")

NEW_ACCOUNTS = """
INSERT INTO credits.accounts (account_id, partition_hash) SELECT 'a' || n, 1 FROM generate_series(1, 5000) AS n;
INSERT INTO credits.decisions (account_no, position, key, content, content_version, source, id, type, outcome,
    occurred_at, decided_at)
SELECT n, 1, decode(md5(n::text), 'hex'), decode(md5('c'), 'hex'), 1, '/s', 'i', 'plan-changed', 'plan-in-force', now(),
    now()
FROM generate_series(1, 5000) AS n;
"""

FILL = """
INSERT INTO credits.accounts (account_id, partition_hash, anchor_at, time_zone, period_number, period_starts_at,
    period_ends_at, next_timer_at, position, parked)
SELECT 'a' || n, n, now(), 'UTC', 0, now(), now() + interval '1 month', now() + interval '1 month', 10, n % 100 / 99
FROM generate_series(1, 20000) AS n;
INSERT INTO credits.decisions (account_no, position, key, content, content_version, source, id, type, outcome,
    occurred_at, decided_at)
SELECT n, p, decode(md5(n || '-' || p), 'hex'), decode(md5('c'), 'hex'), 1, '/s', credits.packed(n || '-' || p),
    'prospect-generated', 'charged', now(), now()
FROM generate_series(1, 20000) AS n, generate_series(1, 3) AS p;
INSERT INTO credits.plans (account_no, position, plan_id, monthly_credits, effective_at, occurred_at, pending,
    type, source, id)
SELECT n, 1, 'p', 10, now(), now(), false, 'plan-changed', '/s', 'i' FROM generate_series(1, 20000) AS n;
INSERT INTO credits.grants (account_no, grant_id, origin, amount, remaining, effective_at, open, position)
SELECT n, g, 'plan', 10, 0, now(), g = 3, 1
FROM generate_series(1, 20000) AS n, generate_series(1, 3) AS g;
INSERT INTO credits.entries (account_no, sequence, line, grant_id, amount, reason, position, occurred_at, recorded_at)
SELECT n, p, 0, 1, -1, 'charge', p, now(), now() FROM generate_series(1, 20000) AS n, generate_series(1, 3) AS p;
INSERT INTO credits.prospects (account_no, prospect_id, origin, told, stay)
SELECT n, credits.packed('p' || p), 'generated', '{1}', 1
FROM generate_series(1, 20000) AS n, generate_series(1, 3) AS p;
INSERT INTO credits.purchases (account_no, position, purchase_id) SELECT n, 1, 'p' FROM generate_series(1, 20000) AS n;
INSERT INTO credits.refund_requests (account_no, charge_sequence, prospect_id, position, requested_at)
SELECT n, 1, 'p', 1, now() FROM generate_series(1, 20000) AS n;
INSERT INTO credits.parked_events (account_no, key, content, source, id, type, occurred_at, type_rank, data,
    partition, "offset", parked_at)
SELECT 1 + n % 200, decode(md5(n::text), 'hex'), decode(md5('c'), 'hex'), '/s', n::text, 'prospect-generated',
    now(), 3, '{}', 0, n, now()
FROM generate_series(1, 20000) AS n;
INSERT INTO credits.outbox (topic, key, event_id, event_time, payload)
SELECT 'balance-changed', 'a', n::text, now(), '{}' FROM generate_series(1, 20000) AS n;
INSERT INTO credits.dead_letters (topic, partition, "offset", digest, reason, detail, headers, timestamp_ms, created_at)
SELECT 't', 0, n, decode(md5('d'), 'hex'), 'r', 'd', '[]', 0, now() FROM generate_series(1, 20000) AS n;
INSERT INTO credits.offset_gaps (topic, partition, expected_offset, resumed_offset, log_end_offset, noticed_at)
SELECT 't', n, 0, 1, 2, now() FROM generate_series(1, 20000) AS n;
INSERT INTO credits.partition_offsets SELECT 't' || n % 50, n, 0 FROM generate_series(1, 5000) AS n;
"""


@pytest.fixture
async def connection(database_url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await connect(database_url)
    yield connection
    await connection.close()


async def test_every_statement_can_be_prepared(undone: asyncpg.Connection) -> None:
    wrong = {}
    for name in STATEMENTS:
        try:
            async with undone.transaction():
                await undone.prepare(sql(name))
        except asyncpg.PostgresError as error:
            wrong[name] = str(error)
    assert wrong == {}


def test_every_statement_says_first_what_it_is_for() -> None:
    assert [name for name in STATEMENTS if not re.match(r"-- [A-Z].*(\n-- .*)*\.\)?\n(?!--)", sql(name))] == []


def test_every_file_is_found_by_a_name_of_its_own() -> None:
    folder = Path(postgres.__file__).parent
    files = [file for file in folder.rglob("*.sql") if file.parent.name != "migrations"]
    assert sorted(file.stem for file in files) == sorted([*statement_files(), *part_files()])


def test_every_part_is_in_a_statement() -> None:
    files = [*statement_files().values(), *part_files().values()]
    included = re.findall(r"-- include (\w+)", "".join(file.read_text() for file in files))
    assert set(included) == set(part_files())
    assert [name for name in STATEMENTS if "-- include" in sql(name)] == []


@pytest.mark.parametrize("statistics", ["with statistics", "before the first ANALYZE"])
async def test_hot_statements_scan_no_filled_table(connection: asyncpg.Connection, statistics: str) -> None:
    if statistics == "with statistics":
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(FILL, timeout=patience(120))
        await connection.execute("VACUUM ANALYZE", timeout=patience(120))
        # What the service's sessions forbid must not be what hides a missing index: here the planner chooses freely.
        await connection.execute("SET enable_seqscan = on; SET enable_hashjoin = on; SET enable_mergejoin = on")
    scans = {}
    for name in HOT:
        plan = await plan_of(connection, name)
        tables = set(re.findall(r"Seq Scan on (?:credits\.)?(\w+)", plan)) - TINY
        if tables:
            scans[name] = plan
    assert not scans


@pytest.mark.parametrize("accounts_are_known", [False, True])
async def test_hot_statements_look_their_rows_up_by_whole_keys(
    connection: asyncpg.Connection, accounts_are_known: bool
) -> None:
    """On tables that are still empty, and once there are accounts with a decision each."""
    if accounts_are_known:
        await connection.execute(NEW_ACCOUNTS)
        await connection.execute("VACUUM ANALYZE credits.accounts, credits.decisions")
    plans = {name: await plan_of(connection, name) for name in HOT}
    by_part_of_a_key = {name for name, plan in plans.items() if "Join Filter" in plan or PART_OF_A_KEY.search(plan)}
    by_no_key = {name for name, plan in plans.items() if WHOLE_INDEX.search(f"{plan}\n")}
    assert by_part_of_a_key | by_no_key - IN_ORDER == set()


async def plan_of(connection: asyncpg.Connection, name: str) -> str:
    """The plan that the service gets: made once, for arrays of any size."""
    types = [str(p.name) for p in (await connection.prepare(sql(name))).get_parameters()]
    arguments = ", ".join("NULL" for _ in types)
    await connection.execute(f"PREPARE {name} AS {sql(name)}")
    execute = f"{name}({arguments})" if types else name
    return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE {execute}"))

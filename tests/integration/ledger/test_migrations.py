"""Migrations run forward on a database that earlier versions have filled, and its rows go on to count."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from credit_contracts import (
    CreditsPurchased,
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
)
from credit_contracts.naming import topic_name
from credit_local_stack import Addresses
from credit_service.application.commands.execute import execute
from credit_service.domain.command import Command, DecideRefund, OpenProspect, command_of
from credit_service.domain.rules import Rules
from credit_service.postgres import migrate as migrate_module
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.migrate import MigrationFailed, migrate
from credit_service.postgres.pool import open_pool
from support.credits import decide_events
from support.releases import EVE, PROSPECTS, fill_first_release, fill_with_rules, known_of
from support.stack import fresh_database

_ids = count()


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def old_database(stack: Addresses) -> AsyncIterator[str]:
    with fresh_database(stack.database_url, "template1") as url:
        async with connected(url) as connection:
            await fill_first_release(connection)
        yield url


@pytest.fixture
def migrations_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], AbstractContextManager[None]]:
    """Has `migrate` run those before a version alone, for as long as the context is open."""

    @contextmanager
    def before(version: str) -> Iterator[None]:
        folder = tmp_path / "migrations"
        folder.mkdir()
        for file in (files("credit_service.postgres") / "migrations").iterdir():
            if file.name < version:
                (folder / file.name).write_text(file.read_text())
        with monkeypatch.context() as patched:
            patched.setattr(migrate_module, "files", lambda _: tmp_path)
            yield

    return before


@pytest.fixture
async def database_with_rules(old_database: str) -> str:
    async with connected(old_database) as connection:
        await fill_with_rules(connection)
    return old_database


async def decide(url: str, *data: IncomingData) -> dict[str, str]:
    """What became of the new events, by type and prospect."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    events = [
        Event("/new", f"new-{next(_ids)}", topic_name(type(one)), now + timedelta(milliseconds=at), one)
        for at, one in enumerate(data)
    ]
    await decide_events(url, *events)
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT id, outcome::text FROM credits.decisions_by_account WHERE source = '/new'"
        )
    outcomes = {row["id"]: row["outcome"] for row in rows}
    return {f"{e.type} {getattr(e.data, 'prospect_id', '')}".strip(): outcomes[e.id] for e in events}


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
    async with connected(old_database) as connection:
        # 9, and 1 for ann; cy's charge came with its refund, and bob was generated anew.
        assert await connection.fetchval("SELECT balance FROM credits.accounts") == 9
        refunds = await connection.fetch(
            "SELECT position, refunds_sequence FROM credits.entries WHERE reason = 'refund' ORDER BY sequence"
        )
        assert [tuple(row) for row in refunds] == [(4, 3), (6, 2), (5, 6)]


async def test_what_was_known_of_prospects_is_known_after(database_with_rules: str) -> None:
    migrate(database_with_rules)

    asked = [Command("acme", b"", b"", "", "opening", OpenProspect(name, "imported")) for name in PROSPECTS]
    async with (
        open_pool(database_with_rules) as pool,
        PostgresLedger(pool, unparked_max=1).transaction() as transaction,
    ):
        account = (await transaction.lock_and_load(asked))["acme"]
    assert account.prospects == {name: known_of(name) for name in PROSPECTS}


async def test_the_rows_of_the_version_with_the_rules_go_on_to_count(database_with_rules: str) -> None:
    async with connected(database_with_rules) as connection:
        tables = [
            row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'credits'")
        ]
        counts = {name: await connection.fetchval(f"SELECT count(*) FROM credits.{name}") for name in tables}
    migrate(database_with_rules)
    async with connected(database_with_rules) as connection:
        assert counts == {name: await connection.fetchval(f"SELECT count(*) FROM credits.{name}") for name in tables}

    assert await decide(
        database_with_rules,
        EmailBounced(account_id="acme", prospect_id="dan"),
        ProspectExported(account_id="acme", prospect_id=EVE),
        EmailBounced(account_id="acme", prospect_id="fay"),
        EmailBounced(account_id="acme", prospect_id="gil"),
        EmailBounced(account_id="acme", prospect_id="hal"),
        EmailBounced(account_id="acme", prospect_id="ivy"),
        ProspectGenerated(account_id="acme", prospect_id="jo"),
        CreditsPurchased(account_id="acme", purchase_id="bought", credits=3),
        PlanChanged(account_id="later", plan_id="p", monthly_credits=5),
    ) == {
        "email-bounced dan": "refunded",
        f"prospect-exported {EVE}": "free",
        "email-bounced fay": "refunded",
        "email-bounced gil": "refunded",
        "email-bounced hal": "refunded",
        "email-bounced ivy": "no-effect",
        "prospect-generated jo": "free",
        "credits-purchased": "no-effect",
        "plan-changed": "plan-in-force",
    }
    async with connected(database_with_rules) as connection:
        balances = await connection.fetch(
            "SELECT account_id, balance, parked FROM credits.accounts ORDER BY account_id"
        )
        # 9, and 4 refunds; the other account's first plan came, and with it what had waited.
        assert [tuple(row) for row in balances] == [("acme", 13, 0), ("later", 4, 0)]
        assert await connection.fetchval("SELECT status::text FROM credits.refund_requests") == "overtaken"
        refunds = await connection.fetch(
            "SELECT refunds_sequence FROM credits.entries WHERE reason = 'refund' AND sequence > 12 ORDER BY sequence"
        )
        assert [row[0] for row in refunds] == [5, 9, 10, -15]


async def test_a_row_of_no_account_ends_the_migration(database_with_rules: str) -> None:
    async with connected(database_with_rules) as connection:
        await connection.execute("INSERT INTO credits.purchases VALUES ('nobody', 'lost', 1)")
    with pytest.raises(MigrationFailed, match="account_no"):
        migrate(database_with_rules)


TOLD_OFTEN = """
INSERT INTO credits.decisions (account_no, position, key, content, content_version, source, id, type, outcome,
    occurred_at, decided_at, prospect_id)
SELECT 1, 100 + n, decode(md5('often-' || n), 'hex'), decode(md5('c'), 'hex'), 1, '/old',
    credits.packed('often-' || n), 'prospect-exported', 'free', now() - interval '1 minute' * (60 - n), now(),
    credits.packed('zoe')
FROM generate_series(1, 32) AS n
"""
FULL = """
INSERT INTO credits.prospects (account_no, prospect_id, origin, told, stay, charge_sequence, charge_grant_id)
SELECT 1, credits.packed('zoe'), 'exported', array_agg(100 + n ORDER BY n)::text, 3, 1000, 1
FROM generate_series(1, 32) AS n
"""
FORGOTTEN_BEFORE = """
INSERT INTO credits.entries (account_no, sequence, line, grant_id, amount, previous_balance, balance, reason, position,
    occurred_at, recorded_at)
VALUES (1, 999, 0, 1, -1, 5, 4, 'charge', 101, now(), now()), (1, 1000, 0, 1, -1, 5, 4, 'charge', 101, now(), now());
INSERT INTO credits.refund_requests (account_no, charge_sequence, prospect_id, position, requested_at)
VALUES (1, 999, credits.packed('zoe'), 101, now());
UPDATE credits.accounts SET position = 132, sequence = 1000 WHERE account_no = 1;
"""
ALL_OF_PROSPECTS = "SELECT * FROM credits.prospects ORDER BY prospect_id"


async def test_prospects_of_before_are_kept_as_they_are_and_go_on_to_count(
    migrations_before: Callable[[str], AbstractContextManager[None]], database_with_rules: str
) -> None:
    """Also one of which 32 things are told, and a request for a charge that was forgotten in the way of before."""
    with migrations_before("20261130000012"):
        migrate(database_with_rules)
    async with connected(database_with_rules) as connection:
        for statement in (TOLD_OFTEN, FULL, FORGOTTEN_BEFORE):
            await connection.execute(statement)
        before = [dict(row) for row in await connection.fetch(ALL_OF_PROSPECTS)]
        file = await connection.fetchval("SELECT pg_relation_filenode('credits.prospects')")
    migrate(database_with_rules)
    async with connected(database_with_rules) as connection:
        after = [dict(row) for row in await connection.fetch(ALL_OF_PROSPECTS)]
        assert after == [row | {"closed_until": None} for row in before]
        assert await connection.fetchval("SELECT pg_relation_filenode('credits.prospects')") == file
        assert "closed_until" in await connection.fetchval("SELECT pg_get_viewdef('credits.prospects_by_account')")

    assert await decide(
        database_with_rules,
        ProspectExported(account_id="acme", prospect_id="zoe"),
        EmailBounced(account_id="acme", prospect_id="zoe"),
        ProspectDeleted(account_id="acme", prospect_id="zoe"),
    ) == {"prospect-exported zoe": "free", "email-bounced zoe": "refunded", "prospect-deleted zoe": "deleted"}
    order = command_of("acme", DecideRefund(999, True, "lee", "wrong person"), "ticket-1")
    async with open_pool(database_with_rules) as pool:
        (answer,) = await execute(PostgresLedger(pool, unparked_max=1), Rules(), [order])
    assert answer.outcome == "refunded"
    async with connected(database_with_rules) as connection:
        told = await connection.fetchval("SELECT told FROM credits.prospects WHERE prospect_id = credits.packed('zoe')")
        assert len(told.split(",")) == 32


async def test_migrating_again_changes_nothing(old_database: str) -> None:
    migrate(old_database)
    assert "Applying" not in migrate(old_database)


LETTER = """
INSERT INTO credits.dead_letters (topic, partition, "offset", digest, reason, detail, key, value, headers, timestamp_ms,
    created_at)
SELECT 'email-bounced', 0, n, decode(md5(n::text), 'hex'), 'not-json', '', '\\x61', '\\x7b', '[]', 0, now()
FROM generate_series(1, 1000) AS n
"""
OF_LETTERS = "SELECT count(*), count(value), count(content_sha256) FROM credits.dead_letters"


async def test_letters_of_before_keep_their_bytes_and_are_not_written_anew(
    migrations_before: Callable[[str], AbstractContextManager[None]], stack: Addresses
) -> None:
    with fresh_database(stack.database_url, "template1") as url:
        with migrations_before("20261130000009"):
            migrate(url)
        async with connected(url) as connection:
            await connection.execute(LETTER)
            file = await connection.fetchval("SELECT pg_relation_filenode('credits.dead_letters')")
        migrate(url)
        async with connected(url) as connection:
            assert tuple(await connection.fetchrow(OF_LETTERS)) == (1_000, 1_000, 0)
            assert await connection.fetchval("SELECT pg_relation_filenode('credits.dead_letters')") == file
            # And they are held to what came with it as soon as they are touched.
            for half in ("content_sha256 = sha256('')", "value_bytes = 1", "value_sha256 = sha256('')"):
                with pytest.raises(asyncpg.CheckViolationError, match="left_out_is_whole"):
                    await connection.execute(f"UPDATE credits.dead_letters SET {half}")
            await connection.execute(
                "UPDATE credits.dead_letters SET value = NULL, content_sha256 = sha256(''), value_bytes = 1,"
                " value_sha256 = sha256(value)"
            )

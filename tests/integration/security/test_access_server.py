"""A Postgres of its own, on which nobody has made the roles yet; and TLS by the URL, through a door before it."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from credit_contracts import PlanChanged
from credit_local_stack import StackError
from credit_local_stack.postgres import Postgres, postgres_binaries
from credit_local_stack.postgres import database_url as superuser_of
from credit_local_stack.process import ServerProcess
from credit_service.application.errors import AccessDenied
from credit_service.postgres.ledger.outbox import PostgresOutbox
from credit_service.postgres.migrate import MigrationFailed, migrate, require_access
from credit_service.postgres.pool import open_pool
from credit_service.postgres.schema import schema_problem
from support.credits import decide_events, run_credits
from support.patience import patience
from support.stack import in_a_loop_of_its_own, with_database
from support.tls import tls_before
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

# One server for all tests of this module.
pytestmark = pytest.mark.xdist_group("access-server")

BEGAN = datetime.now(UTC) - timedelta(hours=1)

# Who is told to come by TLS is refused by the server itself, which was built without.
WHO_MAY_CONNECT = "host all made_tls_only all reject\nhost all all 127.0.0.1/32 scram-sha-256\n"
ROLES = ("credits_owner", "credits_service", "credits_relay", "credits_reader")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a superuser."""
    folder = tmp_path_factory.mktemp("server")
    try:
        postgres = Postgres(folder, postgres_binaries())
    except StackError as error:
        pytest.skip(str(error))
    postgres.choose_ports()
    postgres.prepare()
    (postgres.folder / "pg_hba.conf").write_text(WHO_MAY_CONNECT)
    with (postgres.folder / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off\n")
    process = ServerProcess(postgres, time.sleep)
    process.launch()
    try:
        process.wait_until_it_answers(may_move=True)
        yield superuser_of(folder, postgres.port)
    finally:
        process.end(signal.SIGQUIT)


@pytest.fixture
def clean(server: str) -> Iterator[str]:
    """The server as `initdb` has made it, but for what the test itself makes on it."""
    yield server

    async def tidy() -> None:
        async with connected(server) as superuser:
            for (name,) in await superuser.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'made_%'"):
                await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
            for (name,) in await superuser.fetch("SELECT rolname FROM pg_roles WHERE rolname ~ '^(credits_|made_)'"):
                await superuser.execute(f"DROP ROLE {name}")

    in_a_loop_of_its_own(tidy)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def database_of(server: str, name: str, user: str, rights: str = "") -> str:
    """An empty database that belongs to a new user with these rights; the user's address of it."""
    async with connected(server) as superuser:
        await superuser.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'secret' {rights}")
        await superuser.execute(f"CREATE DATABASE {name} OWNER {user}")
    parts = urlsplit(with_database(server, name))
    return parts._replace(netloc=f"{user}:secret@{parts.netloc.rpartition('@')[2]}").geturl()


# --- the roles, where there are none

# By the server itself: the migration waits for no more than 5 s.
COMMIT_ONCE_AWAITED = """
DO $$ BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'made_one' AND wait_event_type = 'Lock') LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END $$;
COMMIT
"""


async def test_a_role_that_another_database_makes_at_this_moment_is_taken(clean: str) -> None:
    async with connected(clean) as elsewhere:
        await elsewhere.execute("CREATE DATABASE made_one")
        await elsewhere.execute("BEGIN")
        for role in ROLES:
            await elsewhere.execute(f"CREATE ROLE {role} NOLOGIN")
        migration = asyncio.create_task(asyncio.to_thread(migrate, with_database(clean, "made_one")))
        await elsewhere.execute(COMMIT_ONCE_AWAITED, timeout=patience(60))
        assert "20261125000006" in await migration
    async with connected(with_database(clean, "made_one")) as superuser:
        assert await superuser.fetchval("SELECT has_table_privilege('credits_reader', 'credits.entries', 'SELECT')")


async def test_whoever_may_not_make_roles_is_told_what_to_run_first(clean: str, tmp_path: Path) -> None:
    url = await database_of(clean, "made_plain", "made_plain")
    settings = {"database_url": url, "kafka_bootstrap_servers": "127.0.0.1:1"}

    failed = await asyncio.to_thread(run_credits, "migrate", folder=tmp_path, **settings)

    assert failed.returncode == 1
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("credits: ")]
    assert "role credits_owner is missing, and made_plain may not create it" in line
    async with connected(clean) as superuser:
        await superuser.execute(line.partition("run: ")[2].partition(" (those")[0])
    migrated = await asyncio.to_thread(run_credits, "migrate", folder=tmp_path, **settings)
    assert migrated.returncode == 0, migrated.stderr


async def test_a_user_that_may_make_roles_migrates_by_itself_and_goes_on_serving(clean: str) -> None:
    """As on a managed server, where nobody is superuser: the user of the release before owned everything."""
    url = await database_of(clean, "made_managed", "made_managed", "CREATEROLE")

    await asyncio.to_thread(migrate, url)

    await decide_events(url, event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=5), BEGAN))
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT balance FROM credits.accounts") == 5
        owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'credits'::regnamespace"
        assert [row[0] for row in await connection.fetch(owners)] == ["credits_owner"]


async def test_a_long_read_ends_the_hand_over_and_holds_nobody_up(clean: str) -> None:
    async with connected(clean) as superuser:
        await superuser.execute("CREATE DATABASE made_read")
    url = with_database(clean, "made_read")
    await asyncio.to_thread(migrate, url)
    async with connected(url) as reader, connected(url) as superuser:
        await superuser.execute("DELETE FROM public.schema_migrations WHERE version = '20261125000006'")
        reading = reader.transaction()
        await reading.start()
        await reader.execute("SELECT FROM credits.entries")
        with pytest.raises(MigrationFailed, match="lock timeout"):
            await asyncio.to_thread(migrate, url)
        await reading.rollback()
    # It ran whole or not at all; and may run again, on what it has made before.
    await asyncio.to_thread(migrate, url)


# --- TLS by the URL


@pytest.fixture
async def door(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a migrated database, behind TLS."""
    async with tls_before(database_url, tmp_path) as url:
        yield url


async def test_all_who_connect_check_the_certificate(door: str, tmp_path: Path) -> None:
    url = f"{door}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"

    assert "Applying" not in await asyncio.to_thread(migrate, url)
    # Where nothing is said of TLS, it is taken where it is offered: this door opens to nothing else.
    assert "Applying" not in await asyncio.to_thread(migrate, door, 1)
    async with open_pool(url, 1) as pool, PostgresOutbox(url, pool).lead(lambda: None) as leader:
        assert leader is not None
        assert await schema_problem(pool) is None


CHECKED = "sslmode=verify-full&sslrootcert={folder}/"


@pytest.mark.parametrize(
    ("host", "tls", "told", "told_by_migrate"),
    [
        ("localhost", f"{CHECKED}ca.pem", "the server's certificate is not trusted: Hostname mismatch", "x509: .*name"),
        ("127.0.0.1", f"{CHECKED}other-ca.pem", "the server's certificate is not trusted: ", "unknown authority"),
        (
            "127.0.0.1",
            f"{CHECKED}nowhere.pem",
            "the TLS parameters of the URL cannot be used: FileNotFound",
            "no such file",
        ),
    ],
)
async def test_what_cannot_be_trusted_is_refused(
    door: str, tmp_path: Path, host: str, tls: str, told: str, told_by_migrate: str
) -> None:
    url = f"{door.replace('127.0.0.1', host)}?{tls.format(folder=tmp_path)}"

    async with open_pool(url, 1) as pool:
        with pytest.raises(AccessDenied) as caught:
            await schema_problem(pool)
        assert str(caught.value).startswith(told)
        with pytest.raises(AccessDenied):
            async with PostgresOutbox(url, pool).lead(lambda: None):
                pass
    with pytest.raises(MigrationFailed, match=told_by_migrate):
        await asyncio.to_thread(migrate, url, 1)
    with pytest.raises(AccessDenied):
        await require_access(url)


async def test_a_server_without_tls_is_refused_where_the_url_asks_for_it(database_url: str) -> None:
    async with open_pool(f"{database_url}?sslmode=require", 1) as pool:
        with pytest.raises(AccessDenied, match="the server has no TLS, and the URL asks for it"):
            await schema_problem(pool)


async def test_a_user_whom_the_server_does_not_let_in_is_told_so(clean: str) -> None:
    url = await database_of(clean, "made_tls_only", "made_tls_only")
    async with open_pool(url, 1) as pool:
        with pytest.raises(AccessDenied, match=r"the server rejects this user: .*SQLSTATE 28000"):
            await schema_problem(pool)

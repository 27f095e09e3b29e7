"""Who may do what: the page, the catalog, and what happens when a role tries."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest

from credit_contracts import PlanChanged, ProspectGenerated
from credit_service.application.errors import AccessDenied
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.pool import open_pool
from credit_service.postgres.reads.export import long_reads
from credit_service.postgres.schema import schema_problem
from credit_service.postgres.session import connect
from credit_service.postgres.statements import sql, statement_files
from support.access import ROLES, Logins, database_of_its_own, expected, logins
from support.credits import decide_events, run_credits
from support.patience import patience
from support.plain_http import http_client
from support.service import Deployment, ServiceProcess
from support.stack import with_database
from support.tokens import ALL, BEARER
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from credit_local_stack import Addresses
    from support.access import Privilege

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

# One database with its users, for all tests of this module.
pytestmark = pytest.mark.xdist_group("access")

DECIDED_SECONDS_MAX = 30
BEGAN = datetime.now(UTC) - timedelta(hours=1)
STATEMENTS = list(statement_files())
TABLES, FUNCTIONS, OTHERS = expected("table"), expected("function"), expected("sequence or type")

RELATION_PRIVILEGES = "SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER MAINTAIN".split()
COLUMN_PRIVILEGES = "SELECT INSERT UPDATE REFERENCES".split()
ON_RELATIONS = """
SELECT c.relname, r.role, p.privilege, NULL AS column_name
FROM pg_class AS c, unnest($1::text[]) AS r (role), unnest($2::text[]) AS p (privilege)
WHERE c.relnamespace = 'credits'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
    AND has_table_privilege(r.role, c.oid, p.privilege)
UNION ALL
SELECT c.relname, r.role, p.privilege, a.attname
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
    unnest($1::text[]) AS r (role), unnest($3::text[]) AS p (privilege)
WHERE c.relnamespace = 'credits'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
    AND has_column_privilege(r.role, c.oid, a.attnum, p.privilege)
    AND NOT has_table_privilege(r.role, c.oid, p.privilege)
"""
RELATIONS = """
SELECT relname, relkind::text, pg_get_userbyid(relowner) AS owner FROM pg_class
WHERE relnamespace = 'credits'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
"""
ROUTINES = """
SELECT p.proname, pg_get_userbyid(p.proowner) AS owner, p.proconfig, p.prosqlbody IS NOT NULL AS is_bound,
    p.prosecdef, array(
        SELECT r.role FROM unnest($1::text[]) AS r (role) WHERE has_function_privilege(r.role, p.oid, 'EXECUTE')
    ) AS roles
FROM pg_proc AS p WHERE p.pronamespace = 'credits'::regnamespace
"""
TYPES = """
SELECT t.typname, pg_get_userbyid(t.typowner) AS owner, array(
    SELECT r.role FROM unnest($1::text[]) AS r (role) WHERE has_type_privilege(r.role, t.oid, 'USAGE')
) AS roles
FROM pg_type AS t
WHERE t.typnamespace = 'credits'::regnamespace AND t.typtype IN ('e', 'd', 'r', 'm') OR EXISTS (
    SELECT FROM pg_class AS c
    WHERE c.oid = t.typrelid AND c.relkind = 'c' AND c.relnamespace = 'credits'::regnamespace
)
"""
SEQUENCES = """
SELECT c.relname, array(
    SELECT r.role FROM unnest($1::text[]) AS r (role), unnest('{USAGE,SELECT,UPDATE}'::text[]) AS p (privilege)
    WHERE has_sequence_privilege(r.role, c.oid, p.privilege)
) AS roles
FROM pg_class AS c WHERE c.relnamespace = 'credits'::regnamespace AND c.relkind = 'S'
"""


@pytest.fixture(scope="module")
def users(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logins]:
    """A database as the page has it made, migrated by a user that is no superuser."""
    with database_of_its_own(stack.database_url) as made:
        folder = tmp_path_factory.mktemp("migrate")
        migrated = run_credits("migrate", folder=folder, kafka_bootstrap_servers="127.0.0.1:1", **made.settings())
        assert migrated.returncode == 0, migrated.stderr
        yield made


@pytest.fixture(params=["by a member of the owner", "by a superuser"])
async def migrated(request: pytest.FixtureRequest, users: Logins, stack: Addresses) -> AsyncIterator[Connection]:
    """A superuser's connection to a database that was migrated so."""
    url = with_database(stack.database_url, users.owner.rpartition("/")[2])
    if request.param == "by a superuser":
        url = request.getfixturevalue("database_url")
    async with connected(url) as connection:
        yield connection


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


# --- the page and the catalog


async def test_tables_are_granted_as_the_page_says(migrated: Connection) -> None:
    """A new one fails here, until the page and a migration say who may do what with it."""
    await holds_for_tables(migrated)


async def holds_for_tables(connection: Connection) -> None:
    relations = await connection.fetch(RELATIONS)
    assert {row["relname"] for row in relations if row["relkind"] != "S"} == set(TABLES)
    assert {row["owner"] for row in relations} == {"credits_owner"}
    granted: dict[str, dict[str, set[Privilege]]] = {
        name: {role: set() for role in (*ROLES, "public")} for name in TABLES
    }
    asked = ([*ROLES, "public"], RELATION_PRIVILEGES, COLUMN_PRIVILEGES)
    for name, role, privilege, column in await connection.fetch(ON_RELATIONS, *asked):
        granted[name][role].add((privilege, column))
    assert granted == {name: {**roles, "public": set()} for name, roles in TABLES.items()}


async def test_functions_sequences_and_types_are_granted_as_the_page_says(migrated: Connection) -> None:
    roles = [*ROLES, "public"]
    routines = await migrated.fetch(ROUTINES, roles)
    assert {row["proname"]: set(row["roles"]) for row in routines} == {
        name: {role for role, privileges in by_role.items() if privileges} for name, by_role in FUNCTIONS.items()
    }
    types, sequences = await migrated.fetch(TYPES, roles), await migrated.fetch(SEQUENCES, roles)
    assert {row[0] for row in (*types, *sequences)} == set(OTHERS)
    assert [row[0] for row in (*types, *sequences) if row["roles"]] == []
    assert not any(privileges for by_role in OTHERS.values() for privileges in by_role.values())
    assert {row["owner"] for row in (*routines, *types)} == {"credits_owner"}


async def test_the_schema_may_be_used_and_nothing_made_in_it(migrated: Connection) -> None:
    may = await migrated.fetch(
        "SELECT role, privilege FROM unnest($1::text[]) AS r (role), unnest('{USAGE,CREATE}'::text[]) AS p (privilege) "
        "WHERE has_schema_privilege(role, 'credits', privilege)",
        [*ROLES, "public"],
    )
    assert {tuple(row) for row in may} == {(role, "USAGE") for role in ROLES}
    assert await migrated.fetchval("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'credits'") == (
        "credits_owner"
    )


async def test_what_a_later_migration_forgets_is_nobodys(migrated: Connection) -> None:
    transaction = migrated.transaction()
    await transaction.start()
    await migrated.execute(
        "SET LOCAL ROLE credits_owner; CREATE FUNCTION credits.forgotten() RETURNS int LANGUAGE sql RETURN 1; "
        "CREATE TYPE credits.forgotten_too AS ENUM ('a'); CREATE TABLE credits.forgotten_three (a int)"
    )
    (function,) = [r for r in await migrated.fetch(ROUTINES, [*ROLES, "public"]) if r["proname"] == "forgotten"]
    (kind,) = [r for r in await migrated.fetch(TYPES, [*ROLES, "public"]) if r["typname"] == "forgotten_too"]
    with pytest.raises(AssertionError, match="forgotten_three"):
        await holds_for_tables(migrated)
    await transaction.rollback()
    assert (function["roles"], kind["roles"]) == ([], [])


# --- what each role tries


def attempts(table: str, columns: list[str]) -> Iterator[tuple[Privilege, str]]:
    """Each thing that may be done to a table, as a statement that does nothing where it is allowed."""
    yield ("SELECT", None), f"SELECT * FROM credits.{table} LIMIT 0"
    for column in columns:
        yield ("SELECT", column), f'SELECT "{column}" FROM credits.{table} LIMIT 0'
    if table.endswith("_by_account"):
        return  # views of several tables: Postgres itself knows no way to write them
    for column in columns:
        yield (
            ("INSERT", column),
            f'INSERT INTO credits.{table} ("{column}") OVERRIDING SYSTEM VALUE SELECT NULL WHERE false',
        )
        yield ("UPDATE", column), f'UPDATE credits.{table} SET "{column}" = DEFAULT WHERE false'
    yield ("DELETE", None), f"DELETE FROM credits.{table} WHERE false"
    yield ("TRUNCATE", None), f"TRUNCATE credits.{table}"


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_can_do_what_the_page_says_and_nothing_else(role: str, users: Logins) -> None:
    columns = defaultdict(list)
    async with connected(users.reader) as connection:
        for table, column in await connection.fetch(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid "
            "WHERE relnamespace = 'credits'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped"
        ):
            columns[table.removeprefix("credits.")].append(column)
    assert set(columns) == set(TABLES)
    wrong = {}
    async with connected(users.of(role)) as connection:
        for table, names in columns.items():
            granted = TABLES[table][role]
            for (privilege, column), statement in attempts(table, names):
                may = (privilege, None) in granted or (privilege, column) in granted
                if (told := await outcome_of(connection, statement)) != ("done" if may else "42501"):
                    wrong[statement] = told
    assert wrong == {}


WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\b")
OF_THE_RELAY = {
    *("claim_outbox", "drop_claim", "finish_claim", "try_outbox_leadership", "load_claim"),
    *("set_aside_outbox_row", "queue_behind_set_aside"),
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_run_the_statements_that_are_meant_for_it(role: str, users: Logins) -> None:
    """Postgres looks at privileges when a plan is shown, too; so nothing has to be there to be found."""
    meant = {
        "credits_service": set(STATEMENTS) - OF_THE_RELAY,
        "credits_relay": OF_THE_RELAY,
        "credits_reader": {name for name in STATEMENTS if not WRITES.search(sql(name))},
    }[role]
    async with connected(users.of(role)) as connection:
        denied = {name: await outcome_of(connection, await prepared(connection, name)) for name in sorted(meant)}
    assert {name: told for name, told in denied.items() if told != "done"} == {}


async def prepared(connection: Connection, name: str) -> str:
    """The statement, ready to be explained."""
    parameters = (await connection.prepare(sql(name))).get_parameters()
    await connection.execute(f"PREPARE {name} AS {sql(name)}")
    arguments = f"({', '.join('NULL' for _ in parameters)})" if parameters else ""
    return f"EXPLAIN EXECUTE {name}{arguments}"


async def outcome_of(connection: Connection, statement: str) -> str:
    """`done`, or the SQLSTATE of what was said against it; without effect, where there can be a transaction."""
    transaction = connection.transaction()
    if statement not in NOT_IN_A_TRANSACTION:
        await transaction.start()
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError as error:
        return str(error.sqlstate)
    else:
        return "done"
    finally:
        if statement not in NOT_IN_A_TRANSACTION:
            await transaction.rollback()


# Of the server, which not even the owner of the schema may touch.
ON_THE_SERVER = """
SET session_replication_role = replica
SET SESSION AUTHORIZATION postgres
SELECT rolpassword FROM pg_authid
SELECT pg_read_file('postgresql.conf')
SELECT pg_reload_conf()
COPY (SELECT 1) TO PROGRAM 'true'
COPY (SELECT 1) TO '/tmp/credits-of-nobody'
CREATE ROLE credits_nobody
CREATE FUNCTION pg_catalog.nobody() RETURNS int LANGUAGE sql RETURN 1
CREATE FUNCTION public.nobody() RETURNS int LANGUAGE c AS 'nobody'
GRANT pg_read_all_data TO CURRENT_USER
GRANT pg_execute_server_program TO CURRENT_USER
""".strip().splitlines()
NOT_IN_A_TRANSACTION = ("ALTER SYSTEM SET application_name = 'nobody'", "CREATE DATABASE nobody")
SERVER = (*ON_THE_SERVER, *NOT_IN_A_TRANSACTION)
# Of the schema and its database, which are the owner's.
ON_THE_SCHEMA = """
CREATE TABLE credits.nobody (a int)
CREATE TABLE public.nobody (a int)
CREATE TEMPORARY TABLE nobody (a int)
CREATE SCHEMA nobody
CREATE FUNCTION credits.nobody() RETURNS int LANGUAGE sql RETURN 1
CREATE OR REPLACE FUNCTION credits.ledger_now() RETURNS timestamptz LANGUAGE sql STABLE RETURN now()
ALTER FUNCTION credits.refuse_change_of_history() RESET search_path
DROP FUNCTION credits.refuse_change_of_history() CASCADE
CREATE VIEW credits.nobody AS SELECT 1
CREATE INDEX ON credits.entries (amount)
CREATE TRIGGER nobody BEFORE INSERT ON credits.entries EXECUTE FUNCTION credits.refuse_change_of_history()
CREATE RULE nobody AS ON INSERT TO credits.entries DO INSTEAD NOTHING
ALTER TABLE credits.entries DISABLE TRIGGER append_only
ALTER TABLE credits.entries DISABLE TRIGGER ALL
ALTER TABLE credits.entries ADD COLUMN nobody int
ALTER TABLE credits.accounts DROP CONSTRAINT never_below_zero
ALTER TABLE credits.accounts OWNER TO CURRENT_USER
DROP TRIGGER append_only ON credits.entries
DROP TABLE credits.entries
DROP SCHEMA credits CASCADE
LOCK TABLE credits.accounts IN ACCESS EXCLUSIVE MODE
LOCK TABLE credits.entries IN SHARE MODE
SELECT nextval('credits.outbox_outbox_id_seq')
SELECT setval('credits.accounts_account_no_seq', 1)
ALTER SEQUENCE credits.accounts_account_no_seq RESTART
ALTER TYPE credits.outcome RENAME TO nobody
INSERT INTO public.schema_migrations VALUES ('1')
DELETE FROM public.schema_migrations
GRANT credits_owner TO CURRENT_USER
SET ROLE credits_owner
SET ROLE postgres
""".strip().splitlines()


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_can_neither_change_the_schema_nor_become_another(role: str, users: Logins) -> None:
    others = [f"SET ROLE {other}" for other in ROLES if other != role]
    async with connected(users.of(role)) as connection:
        told = {one: await outcome_of(connection, one) for one in (*SERVER, *ON_THE_SCHEMA, *others)}
    assert {one: code for one, code in told.items() if code != "42501"} == {}


async def test_the_owner_changes_the_schema_and_is_nobody_on_the_server(users: Logins) -> None:
    async with connected(users.owner) as connection:
        told = {one: await outcome_of(connection, one) for one in (*SERVER, *(f"SET ROLE {r}" for r in ROLES))}
        assert {one: code for one, code in told.items() if code != "42501"} == {}
        assert await outcome_of(connection, "CREATE TABLE credits.later (a int)") == "done"
        # The second line, behind the privileges: history is not the owner's to change.
        assert await outcome_of(connection, "UPDATE credits.entries SET amount = 1") == "23000"
        assert await outcome_of(connection, "TRUNCATE credits.decisions") == "23000"


async def test_whoever_only_looks_cannot_write_whatever_is_granted(stack: Addresses, users: Logins) -> None:
    """The second line: here with an address that may do everything."""
    url = with_database(stack.database_url, users.owner.rpartition("/")[2])
    async with open_pool(url, 1, is_read_only=True) as pool, long_reads(url) as connection:
        for session in (pool, connection):
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await session.execute("DELETE FROM credits.paused_topics")


# --- several ledgers on one server


async def test_the_users_of_one_ledger_are_not_let_into_another(users: Logins, stack: Addresses) -> None:
    database = users.owner.rpartition("/")[2]
    with database_of_its_own(stack.database_url) as others:
        for url in (others.owner, others.service, others.relay, others.reader):
            async with connected(url) as connection:
                # An owner could let itself in. Who may do something else of the database is only warned.
                with suppress(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO CURRENT_USER")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                await asyncpg.connect(with_database(url, database))
    async with connected(stack.database_url) as superuser:
        let_in = await superuser.fetch(
            "SELECT rolname FROM pg_roles WHERE NOT rolsuper AND has_database_privilege(oid, $1, 'CONNECT')", database
        )
    assert {row[0] for row in let_in} == {urlsplit(url).username for url in users.settings().values()}


# --- names that are found first

# What statements and functions call by its bare name, with the kinds of arguments that they give it.
CALLED = """
clock_timestamp() now() ledger_now() octet_length(bytea) octet_length(text) convert_to(text,text)
convert_from(bytea,text) encode(bytea,text) substr(bytea,integer) uuid_send(uuid) unnest(anyarray)
pg_try_advisory_lock(bigint) pg_notify(text,text) packed(text) unpacked(bytea)
""".split()
STRIKES = (
    """CREATE FUNCTION hostile.{} RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hostile'; END $$"""
)


@pytest.fixture
async def hostile(users: Logins, stack: Addresses) -> AsyncIterator[Connection]:
    """A superuser's connection, and what every new session of the service's user finds first."""
    url = with_database(stack.database_url, users.owner.rpartition("/")[2])
    user, database = users.service.partition("//")[2].partition(":")[0], users.service.rpartition("/")[2]
    async with connected(url) as connection:
        await connection.execute(
            "CREATE SCHEMA hostile; CREATE SCHEMA hostile_tables; GRANT USAGE ON SCHEMA hostile TO PUBLIC"
        )
        for called in CALLED:
            await connection.execute(STRIKES.format(called))
        for table in TABLES:
            await connection.execute(f"CREATE TABLE hostile_tables.{table} (nothing int)")
        await connection.execute(
            f"ALTER ROLE {user} IN DATABASE {database} SET search_path = hostile, hostile_tables, pg_catalog, credits"
        )
        try:
            yield connection
        finally:
            await connection.execute(
                f"ALTER ROLE {user} IN DATABASE {database} RESET search_path; "
                "DROP SCHEMA hostile CASCADE; DROP SCHEMA hostile_tables CASCADE"
            )


async def test_the_service_finds_nothing_hostile(hostile: Connection, users: Logins) -> None:
    async with connected(users.service) as session:
        with pytest.raises(asyncpg.RaiseError, match="hostile"):
            await session.execute("SELECT octet_length('met first')")
    at = BEGAN
    # What strikes is a fault of the database, and would be waited out for ever.
    async with asyncio.timeout(patience(DECIDED_SECONDS_MAX)):
        await decide_events(
            users.service,
            event(PlanChanged(account_id="hostile", plan_id="p", monthly_credits=5), at),
            event(ProspectGenerated(account_id="hostile", prospect_id="16 characters..."), at),
        )
    assert await hostile.fetchval("SELECT balance FROM credits.accounts WHERE account_id = 'hostile'") == 4


@pytest.mark.usefixtures("hostile")
async def test_statements_name_the_schema_of_every_table(users: Logins) -> None:
    async with connected(users.service) as session:
        await session.execute("SET search_path = hostile_tables, pg_catalog")
        for name in STATEMENTS:
            await session.prepare(sql(name))


async def test_functions_find_what_they_found_when_they_were_made(hostile: Connection) -> None:
    """Bound for good, or with a path of their own; and none lends its owner's rights."""
    await hostile.execute("SET search_path = hostile, pg_catalog")
    for kept in ("16 characters...", "0f8fad5b-d9cb-469f-a165-70867728950e", "p-1"):
        assert await hostile.fetchval("SELECT credits.unpacked(credits.packed($1))", kept) == kept
    assert await hostile.fetchval("SELECT credits.ledger_now()")
    await hostile.execute("RESET search_path")
    for row in await hostile.fetch(ROUTINES, []):
        assert row["proconfig"] == (None if row["is_bound"] else ["search_path=pg_catalog, pg_temp"]), row["proname"]
        assert not row["prosecdef"], row["proname"]


# --- what is told of it


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("access_", "nobody_"), "the password is wrong, SQLSTATE 28P01"),
        (("{database}", "nowhere"), "there is no database of this name, SQLSTATE 3D000"),
    ],
)
async def test_who_is_not_let_in_is_told_why(change: tuple[str, str], told: str, users: Logins) -> None:
    old, new = change
    url = users.service.replace("//access_", f"//{new}", 1)
    if old == "{database}":
        url = with_database(users.service, new)
    async with open_pool(url, 1) as pool:
        with pytest.raises(AccessDenied) as caught:
            await schema_problem(pool)
    assert str(caught.value) == told


async def test_what_is_denied_is_told_without_values(users: Logins) -> None:
    connection = await connect(users.relay)
    try:
        with pytest.raises(AccessDenied) as caught, translated_errors():
            await connection.execute("UPDATE credits.accounts SET balance = 4711 WHERE account_id = 'acme'")
    finally:
        await connection.close()
    assert str(caught.value) == "permission denied for table accounts, SQLSTATE 42501"


def test_a_migration_with_a_wrong_password_says_so_at_once(users: Logins, tmp_path: Path) -> None:
    url = users.owner.replace("_migrations:", "_migrations:no")
    denied = run_credits("migrate", folder=tmp_path, database_url=url, kafka_bootstrap_servers="127.0.0.1:1")
    told = "credits: the database denies access: the password is wrong, SQLSTATE 28P01\n"
    assert (denied.returncode, denied.stderr) == (1, told)


def test_a_command_says_it_in_one_line(users: Logins, tmp_path: Path) -> None:
    settings = users.settings() | {"database_url": users.reader, "kafka_bootstrap_servers": "127.0.0.1:1"}
    denied = run_credits("resume", "email-bounced", folder=tmp_path, **settings)
    assert (denied.returncode, denied.stderr) == (
        1,
        "credits: the database denies access: permission denied for table paused_topics, SQLSTATE 42501\n",
    )


async def test_a_command_says_that_the_database_is_read_only(database_url: str, tmp_path: Path) -> None:
    async with connected(database_url) as superuser:
        database = urlsplit(database_url).path[1:]
        await superuser.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    settings = {"database_url": database_url, "kafka_bootstrap_servers": "127.0.0.1:1"}
    refused = await asyncio.to_thread(run_credits, "resume", "email-bounced", folder=tmp_path, **settings)
    told = "credits: the database takes no writes: it is read-only, SQLSTATE 25006\n"
    assert (refused.returncode, refused.stderr) == (1, told)


# --- the service, while privileges go and come back


@asynccontextmanager
async def without(connection: Connection, privilege: str, role: str) -> AsyncIterator[None]:
    """The privilege is gone for as long as this lasts."""
    await connection.execute(f"REVOKE {privilege} FROM {role}")
    try:
        yield
    finally:
        await connection.execute(f"GRANT {privilege} TO {role}")


async def test_what_is_denied_is_waited_for_and_no_dead_letter(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    with logins(deployment.database_url) as users:
        token = json.dumps([ALL.entry()])
        service = await (await deployment.start(**users.settings(), http_tokens=token)).ready()
        async with deployment.upstream() as upstream, connected(deployment.database_url) as superuser:
            await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=9), BEGAN)])
            await deployment.oracle().drained()

            async with without(superuser, "INSERT ON credits.entries", "credits_service"):
                await upstream.send([event(ProspectGenerated(account_id="a", prospect_id="p-1"), BEGAN)])
                await says(service, "ledger", "permission denied for table entries, SQLSTATE 42501")
            await deployment.oracle().drained()

            async with without(superuser, "DELETE ON credits.outbox", "credits_relay"):
                await upstream.send([event(ProspectGenerated(account_id="a", prospect_id="p-2"), BEGAN)])
                told = "nothing is published: permission denied for table outbox, SQLSTATE 42501"
                await says(service, "relay", told)
            await deployment.oracle().drained()

            async with without(superuser, "SELECT ON credits.accounts", "credits_reader"):
                async with http_client(headers=BEARER, timeout=patience(60)) as client:
                    answer = await client.get(f"http://127.0.0.1:{service.http_port}/v1/accounts/a")
                assert (answer.status_code, answer.json()["detail"]) == (503, "the database denies access")

            await service.ready()
            assert await superuser.fetchval("SELECT count(*) FROM credits.dead_letters") == 0
            assert await superuser.fetchval("SELECT balance FROM credits.accounts") == 7
        await deployment.oracle().check()
        assert await service.terminate() == 0


async def says(service: ServiceProcess, part: str, problem: str) -> None:
    """Not ready, and one line in the log, as long as that is so."""

    async def is_told() -> bool:
        return (await service.problems()).get(part) == problem

    await eventually(is_told, what=f"{part}: {problem}")
    # Another fault may have come between.
    lines = [line for kind in ("not ready", "well again") for line in service.logged(kind) if line["part"] == part]
    told = [line.get("problem") for line in sorted(lines, key=itemgetter("timestamp"))]
    assert [one for one, _ in groupby(told)] == told

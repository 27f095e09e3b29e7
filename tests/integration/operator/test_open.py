"""`credits open`: an existing customer base is brought in, on the real Postgres."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import pty
import signal
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from credit_contracts import (
    INCOMING,
    CreditsPurchased,
    EmailBounced,
    Event,
    PlanChanged,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
)
from credit_service.application.opening.rows import COLUMNS
from credit_service.application.processing.processor import Processor
from credit_service.bounds import OPENING_ROWS_PER_BATCH_MAX
from credit_service.domain.event import Wake
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from support.credits import COMMAND_SECONDS_MAX, CREDITS, decide_events, environment, run_credits, run_credits_after
from support.forked import Piped, piped
from support.locks import waiting_for_a_lock
from support.patience import patience
from support.small_bounds import as_faults
from support.stack import fresh_database
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from credit_contracts import IncomingData
    from credit_local_stack import Addresses

Fields = dict[str, object]

NOW = datetime.now(UTC)
THIS_MONTH = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
NEXT_MONTH = (THIS_MONTH + timedelta(days=32)).replace(day=1)
ANCHOR = (THIS_MONTH - timedelta(days=150)).replace(day=1).isoformat()
IN_90_DAYS = (THIS_MONTH + timedelta(days=120)).isoformat()
NOWHERE = "postgresql://credits:hunter2@127.0.0.1:1/credits"
AGAIN = "the same command may safely be run again; until then all else of a1999 waits"
MEMORY_KIB_MAX = 120 * 1024
# Of a row of any table `t` of the ledger.
OWNER = "(SELECT account_id FROM credits.accounts WHERE account_no = t.account_no)"


def account(account_id: str, monthly_credits: int | None = 500, **more: object) -> Fields:
    plan = {"plan_id": "pro", "monthly_credits": monthly_credits, "billing_anchor_at": ANCHOR}
    return {"record": "account", "account_id": account_id} | plan | more


def purchase(account_id: str, purchase_id: str, credits_left: int = 7, **more: object) -> Fields:
    return {
        "record": "purchase", "account_id": account_id, "purchase_id": purchase_id, "credits": credits_left
    } | more  # fmt: skip


def prospect(account_id: str, prospect_id: str, origin: str = "generated") -> Fields:
    return {"record": "prospect", "account_id": account_id, "prospect_id": prospect_id, "origin": origin}


BASE = [
    account("acme", seats=3, email_accounts=4, remaining_credits=120),
    purchase("acme", "buy-1", 7),
    purchase("acme", "buy-2", 3, expires_at=IN_90_DAYS),
    prospect("acme", "gen"),
    prospect("acme", "exp", "exported"),
    prospect("acme", "imp", "imported"),
    account("big", None),
    prospect("big", "gen"),
    account("new", 100),
]


@dataclass(frozen=True)
class Customers:
    """Where a base is brought in, and from."""

    database_url: str
    folder: Path

    def settings(self) -> dict[str, object]:
        return {"database_url": self.database_url, "kafka_bootstrap_servers": "127.0.0.1:1"}

    def write(self, rows: Iterable[Fields], name: str = "customers.jsonl") -> str:
        with (self.folder / name).open("w", newline="") as file:
            if name.endswith(".csv"):
                table = csv.DictWriter(file, COLUMNS)
                table.writeheader()
                table.writerows(row | ({"monthly_credits": "unlimited"} if is_unlimited(row) else {}) for row in rows)
            else:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        return name

    def open(self, *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
        return run_credits_after(first, "open", *arguments, folder=self.folder, **self.settings())

    def told(self, *arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        """The exit code, what was refused, and the sums."""
        done = self.open(*arguments, "--output", "json")
        assert done.stderr == ""
        *refused, sums = map(json.loads, done.stdout.splitlines())
        return done.returncode, refused, sums

    def show(self, account_id: str) -> dict[str, Any]:
        shown = run_credits("account", "show", account_id, "-o", "json", folder=self.folder, **self.settings())
        return cast("dict[str, Any]", json.loads(shown.stdout))

    @contextmanager
    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [CREDITS, "open", *arguments],
            env=environment(**self.settings()),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as running:
            try:
                yield running
            finally:
                running.kill()

    def speak(self, *arguments: str) -> Piped[str]:
        """Begins one that is told its rows."""
        return piped("open", *arguments, environment=environment(**self.settings()), folder=self.folder)

    async def ask(self, query: str) -> list[tuple[Any, ...]]:
        async with connected(self.database_url) as connection:
            return [tuple(row) for row in await connection.fetch(query)]

    async def count(self, table: str) -> int:
        return int((await self.ask(f"SELECT count(*) FROM credits.{table}"))[0][0])

    async def everything(self) -> dict[str, list[str]]:
        """All rows of all tables."""
        found = await self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'credits' ORDER BY 1")
        assert len(found) > 10
        return {
            table: [row[0] for row in await self.ask(f"SELECT t::text FROM credits.{table} t ORDER BY 1")]
            for (table,) in found
        }

    async def state(self) -> dict[str, list[tuple[Any, ...]]]:
        """What was brought in, without the times and places at which it happened."""
        queries = {
            "accounts": "account_id, balance, unlimited, sequence, position, last_grant_id, period_ends_at",
            "decisions": f"{OWNER}, position, key, content, id, outcome, note",
            "entries": f"{OWNER}, sequence, line, grant_id, amount, balance, reason, position",
            "grants": f"{OWNER}, grant_id, origin, amount, remaining, expires_at",
            "prospects": f"{OWNER}, prospect_id, origin, told, charge_sequence, charge_grant_id, charge_at",
            "plans": f"{OWNER}, position, plan_id, monthly_credits",
            "outbox": "event_id",
        }
        return {
            table: await self.ask(f"SELECT {what} FROM credits.{table} AS t ORDER BY {what}")
            for table, what in queries.items()
        }


def is_unlimited(row: Fields) -> bool:
    return row["record"] == "account" and row["monthly_credits"] is None


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


def event(number: int, data: IncomingData) -> Event[IncomingData]:
    """One that happens now."""
    (name,) = [name for name, model in INCOMING.items() if isinstance(data, model)]
    return Event("/tests", f"e-{number}", name, datetime.now(UTC), data)


def many(accounts: int, prospects: int) -> Iterator[Fields]:
    for a in range(accounts):
        yield account(f"a{a}", remaining_credits=a)
        for p in range(prospects):
            yield prospect(f"a{a}", f"p{p}", ("generated", "exported", "imported")[p % 3])


@pytest.fixture
def customers(database_url: str, tmp_path: Path) -> Customers:
    return Customers(database_url, tmp_path)


# --- what is brought in


@pytest.mark.parametrize("name", ["customers.csv", "customers.jsonl", "customers.ndjson"])
async def test_a_customer_base_is_brought_in_as_it_stands(customers: Customers, name: str) -> None:
    done = customers.open(customers.write(BASE, name))

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "                  accounts   purchases   prospects  unreadable",
        "opened                   3           2           4",
        "opened before            0           0           0",
        "refused                  0           0           0           0",
    ]
    acme = customers.show("acme")
    assert acme["balance"] == 120 + 7 + 3
    assert acme["plan"] == {"plan_id": "pro", "monthly_credits": 500, "seats": 3, "email_accounts": 4}
    period = [datetime.fromisoformat(acme["period"][end]) for end in ("starts_at", "ends_at")]
    assert period == [THIS_MONTH, NEXT_MONTH]
    assert [(g["origin"], g["remaining"], g["expires_at"] and g["expires_at"][:10]) for g in acme["grants"]] == [
        ("opening", 120, f"{NEXT_MONTH:%Y-%m-%d}"),
        ("purchase", 3, IN_90_DAYS[:10]),
        ("purchase", 7, None),
    ]
    assert (customers.show("big")["unlimited"], customers.show("big")["balance"]) == (True, None)
    assert (customers.show("new")["balance"], customers.show("new")["sequence"]) == (0, 0)
    prospects = "SELECT account_id, prospect_id, origin FROM credits.prospects_by_account ORDER BY 1, 2"
    assert await customers.ask(prospects) == [
        ("acme", "exp", "exported"),
        ("acme", "gen", "generated"),
        ("acme", "imp", "imported"),
        ("big", "gen", "generated"),
    ]


async def test_each_balance_that_is_opened_waits_to_be_published(customers: Customers) -> None:
    customers.open(customers.write(BASE))

    waiting = await customers.ask("SELECT topic, payload FROM credits.outbox ORDER BY event_id")

    told = [json.loads(payload) for topic, payload in waiting if topic == "balance-changed"]
    assert len(told) == len(waiting)
    assert [(d["account_id"], d["sequence"], d["previous_balance"], d["balance"], d["reason"]) for d in told] == [
        ("acme", 1, 0, 120, "opening"),
        ("acme", 2, 120, 127, "opening"),
        ("acme", 3, 127, 130, "opening"),
        ("big", 1, 0, None, "opening"),
    ]
    assert [d["cause"]["id"] for d in told] == [
        "opening",
        "opening:purchase:buy-1",
        "opening:purchase:buy-2",
        "opening",
    ]


async def test_months_begin_at_the_anchor_in_the_accounts_own_zone(customers: Customers) -> None:
    # The last of February in UTC, where months would begin on the 28th.
    anchor = f"{THIS_MONTH.year - 1}-03-01T00:00:00+09:00"

    customers.open(customers.write([account("tokyo", billing_anchor_at=anchor, time_zone="Asia/Tokyo")], "c.csv"))

    period = customers.show("tokyo")["period"]
    there = [datetime.fromisoformat(period[end]).astimezone(ZoneInfo("Asia/Tokyo")) for end in ("starts_at", "ends_at")]
    assert [(instant.day, instant.hour) for instant in there] == [(1, 0), (1, 0)]


async def test_what_an_account_owns_is_free_and_a_bounce_gives_its_credit_back_in_this_month(
    customers: Customers,
) -> None:
    customers.open(customers.write(BASE))

    await decide_events(
        customers.database_url,
        event(1, ProspectExported(account_id="acme", prospect_id="gen")),
        event(2, ProspectGenerated(account_id="acme", prospect_id="imp")),
        event(3, EmailBounced(account_id="acme", prospect_id="gen")),
        event(4, EmailBounced(account_id="acme", prospect_id="exp")),
        event(5, EmailBounced(account_id="acme", prospect_id="imp")),
        event(6, EmailBounced(account_id="acme", prospect_id="gen")),
        event(7, EmailBounced(account_id="big", prospect_id="gen")),
        event(8, ProspectGenerated(account_id="acme", prospect_id="another")),
    )

    outcomes = await customers.ask("SELECT outcome::text FROM credits.decisions WHERE source = '/tests' ORDER BY id")
    assert [outcome for (outcome,) in outcomes] == [
        "free", "free", "refunded", "refunded", "no-effect", "no-effect", "refunded", "charged"
    ]  # fmt: skip
    acme = customers.show("acme")
    assert acme["balance"] == 130 + 2 - 1
    (refund,) = [grant for grant in acme["grants"] if grant["origin"] == "refund"]
    assert refund["amount"] == 2
    assert datetime.fromisoformat(refund["expires_at"]) == NEXT_MONTH
    of_big = """SELECT amount, balance, refunds_sequence < 0 FROM credits.entries_by_account
        WHERE (account_id, sequence) = ('big', 2)"""
    assert await customers.ask(of_big) == [(0, None, True)]


async def test_what_billing_says_later_finds_the_account_as_any_other(customers: Customers) -> None:
    customers.open(customers.write(BASE))

    await decide_events(
        customers.database_url,
        event(1, PlanChanged(account_id="acme", plan_id="max", monthly_credits=800)),
        event(2, CreditsPurchased(account_id="acme", purchase_id="buy-1", credits=7)),
        event(3, CreditsPurchased(account_id="acme", purchase_id="buy-3", credits=5)),
    )

    acme = customers.show("acme")
    assert acme["plan"] == {"plan_id": "max", "monthly_credits": 800, "seats": 3, "email_accounts": 4}
    assert acme["balance"] == 130 + (800 - 500) + 5
    assert datetime.fromisoformat(acme["period"]["ends_at"]) == NEXT_MONTH


async def test_events_that_waited_for_the_account_find_all_that_it_owns(customers: Customers) -> None:
    await decide_events(
        customers.database_url,
        event(1, ProspectExported(account_id="acme", prospect_id="owned")),
        event(2, ProspectGenerated(account_id="acme", prospect_id="p-1")),
    )
    customers.open(
        customers.write([account("acme", remaining_credits=10), prospect("acme", "owned")]),
    )
    assert await customers.count("parked_events") == 2

    async with open_pool(customers.database_url) as pool:
        processor = Processor(PostgresLedger(pool, unparked_max=100), Rules())
        report = await processor.wake([Wake("acme", datetime.now(UTC), 0)], asyncio.Event())

    assert (report.outcomes["free"], report.outcomes["charged"]) == (1, 1)
    assert await customers.count("parked_events") == 0
    assert customers.show("acme")["balance"] == 9


# --- once more


async def test_the_same_file_once_more_has_no_second_effect_and_says_so(customers: Customers) -> None:
    customers.open(customers.write(BASE, "customers.csv"))
    before = await customers.everything()

    again = customers.open("customers.csv")
    as_json = customers.told(customers.write(BASE, "the same.jsonl"))

    assert await customers.everything() == before
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.splitlines()[1:] == [
        "opened                   0           0           0",
        "opened before            3           2           4",
        "refused                  0           0           0           0",
        "Nothing is new.",
    ]
    assert as_json[0] == 0
    assert as_json[2]["opened_before"] == {"account": 3, "purchase": 2, "prospect": 4}


async def test_killed_in_the_middle_and_run_again_it_ends_as_one_run(
    customers: Customers, stack: Addresses, database_template: str
) -> None:
    name = customers.write(many(60, 99))
    with customers.speak("-", "--format", "jsonl") as running:
        # The other half never comes, so that it cannot end before it is killed.
        await feed(running, many(30, 99))
        await eventually(lambda: customers.count("accounts"))
        running.send_signal(signal.SIGKILL)
        assert running.wait(patience(COMMAND_SECONDS_MAX)) == -signal.SIGKILL
    assert 0 < await customers.count("accounts") < 60

    again = customers.told(name)

    assert again[0] == 0
    assert again[2]["opened_before"]["account"] > 0
    assert again[2]["opened_before"]["account"] + again[2]["opened"]["account"] == 60
    with fresh_database(stack.database_url, database_template) as url:
        unharmed = Customers(url, customers.folder)
        assert unharmed.told(name)[2]["opened"] == {"account": 60, "purchase": 0, "prospect": 5_940}
        assert await unharmed.state() == await customers.state()


# --- while more rows of an account are to come

PROSPECTS = 2 * OPENING_ROWS_PER_BATCH_MAX
LAST = f"p{PROSPECTS - 1}"


@pytest.fixture
async def half(customers: Customers) -> Customers:
    """An account of which one batch is brought in, by a command that was killed."""
    with customers.speak("-", "--format", "jsonl") as running:
        await feed(running, list(many(1, PROSPECTS))[: OPENING_ROWS_PER_BATCH_MAX + 1])
        await eventually(lambda: customers.count("accounts"))
        running.send_signal(signal.SIGKILL)
        running.wait(patience(COMMAND_SECONDS_MAX))
    return customers


async def sweep(customers: Customers) -> dict[str, int]:
    """What came of all that a sweep finds to do, by outcome."""
    async with open_pool(customers.database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=100)
        wakes = [Wake(name, datetime.now(UTC), 0) for name in await ledger.accounts_to_unpark(10)]
        wakes += [Wake(name, at, 10) for name, at in await ledger.accounts_with_due_timers({0: None}, 1, 10)]
        return dict((await Processor(ledger, Rules()).wake(wakes, asyncio.Event())).outcomes) if wakes else {}


async def test_events_of_an_account_wait_until_all_its_rows_were_read(half: Customers) -> None:
    await decide_events(
        half.database_url,
        event(1, ProspectGenerated(account_id="a0", prospect_id=LAST)),
        event(2, ProspectGenerated(account_id="a0", prospect_id="nobody-owns-it")),
    )
    async with connected(half.database_url) as connection:
        await connection.execute("UPDATE credits.parked_events SET parked_at = now() - interval '90 days'")
        await connection.execute("UPDATE credits.accounts SET next_timer_at = now() - interval '1 day'")
    assert await sweep(half) == {}
    async with open_pool(half.database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=100)
        async with ledger.transaction() as transaction:
            assert await transaction.take_expired(timedelta(days=1), [0], 1, 10) == []
        report = await Processor(ledger, Rules()).wake([Wake("a0", datetime.now(UTC), 10)], asyncio.Event())
    assert (report.outcomes, report.lagging_accounts) == ({}, set())
    assert await half.count("parked_events") == 2

    again = half.told(half.write(many(1, PROSPECTS)))

    assert again[0] == 0
    assert again[2]["opened_before"] == {"account": 1, "purchase": 0, "prospect": OPENING_ROWS_PER_BATCH_MAX - 1}
    assert await sweep(half) == {"free": 1, "declined": 1}


async def test_nobody_orders_anything_of_an_account_until_all_its_rows_were_read(half: Customers) -> None:
    adjust = ("adjust", "a0", "+5", "--reason", "goodwill", "--operator", "lee", "--yes")
    refused = run_credits(*adjust, folder=half.folder, **half.settings())
    assert refused.returncode == 1
    assert "a0 is being opened; run this again after `credits open`" in refused.stdout + refused.stderr

    half.told(half.write(many(1, PROSPECTS)))
    assert run_credits(*adjust, folder=half.folder, **half.settings()).returncode == 0


@pytest.mark.parametrize(
    ("row", "exit_code"), [(account("a0", remaining_credits=0), 0), (account("a0", 7, plan_id="whatever"), 1)]
)
async def test_a_file_that_is_lost_is_ended_by_the_row_of_its_account(
    half: Customers, row: Fields, exit_code: int
) -> None:
    await decide_events(half.database_url, event(1, ProspectGenerated(account_id="a0", prospect_id="nobody-owns-it")))
    assert await sweep(half) == {}

    assert half.told(half.write([row]))[0] == exit_code
    assert await sweep(half) == {"declined": 1}


# Each commit that changes the account, by its decisions, and whether more was to come then.
LOG = """
CREATE TABLE public.log (position integer, more_is_to_come boolean);
CREATE FUNCTION public.log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN INSERT INTO public.log VALUES (new.position, new.opening_since IS NOT NULL); RETURN NULL; END $$;
CREATE TRIGGER log AFTER UPDATE ON credits.accounts FOR EACH ROW EXECUTE FUNCTION public.log();
ALTER TABLE credits.purchases ADD CONSTRAINT no_curse CHECK (purchase_id <> 'cursed');
"""
CURSED = purchase("acme", "cursed")
ROWS = [account("acme"), *(prospect("acme", f"p-{n}") for n in range(4))]


@pytest.mark.parametrize(
    ("rows", "log"),
    [
        pytest.param(ROWS[:3], [(3, False)], id="one batch"),
        pytest.param(ROWS, [(4, True), (5, False)], id="two"),
        pytest.param(ROWS[:4], [(4, True), (4, False)], id="one, and it is not known that this was all"),
        pytest.param([*ROWS[:4], account("b")], [(4, True), (1, False), (4, False)], id="another account follows"),
        pytest.param([*ROWS[:2], CURSED], [(1, True), (2, True), (2, False)], id="the database refuses the last row"),
        pytest.param([ROWS[0], CURSED, *ROWS[1:3]], [(1, True), (3, True), (3, False)], id="one in the middle"),
        pytest.param([*ROWS[:4], CURSED], [(4, True), (4, False)], id="a batch of its own"),
        pytest.param([*ROWS[:4], {"record": "nonsense"}], [(4, True), (4, False)], id="the last row is none"),
    ],
)
async def test_an_account_is_being_opened_from_its_first_batch_to_its_last(
    customers: Customers, rows: list[Fields], log: list[tuple[int, bool]]
) -> None:
    async with connected(customers.database_url) as connection:
        await connection.execute(LOG)
    customers.open(customers.write(rows), first=as_faults(OPENING_ROWS_PER_BATCH_MAX=4))

    assert await customers.ask("SELECT position, more_is_to_come FROM public.log") == log


# --- refused


REFUSALS = [
    (account("started"), "has-a-plan", "the account has a plan already"),
    (purchase("started", "known"), "purchase-known", "the purchase is known already"),
    (prospect("started", "known"), "prospect-known", "the prospect is known already"),
    (purchase("started", "fresh"), None, ""),
    (account("opened", seats=2), "conflict", "it was brought in before with other content"),
    (prospect("opened", "p-1", "imported"), "conflict", "it was brought in before with other content"),
    (purchase("opened", "old", expires_at=ANCHOR), "expired", "the purchase has expired"),
    (account("unwanted", plan_id="cursed"), "refused-by-database", "the database refuses it: SQLSTATE 23514, no_curse"),
    (prospect("unwanted", "p-1"), "not-open", "the account has no plan: its own row was refused"),
    (prospect("acme", "p-1"), "no-account-row", "its account's row does not precede it"),
    (account("acme", -1), "bad-row", "monthly_credits: greater_than_equal"),
    (purchase("acme", "buy-1"), "no-account-row", "its account's row does not precede it"),
    (account("fine"), None, ""),
]


async def prepare(customers: Customers) -> None:
    """What the rows above run into."""
    await decide_events(
        customers.database_url,
        event(1, PlanChanged(account_id="started", plan_id="pro", monthly_credits=5)),
        event(2, CreditsPurchased(account_id="started", purchase_id="known", credits=7)),
        event(3, ProspectImported(account_id="started", prospect_id="known")),
    )
    assert customers.open(customers.write([account("opened"), prospect("opened", "p-1")])).returncode == 0
    async with connected(customers.database_url) as connection:
        await connection.execute("ALTER TABLE credits.plans ADD CONSTRAINT no_curse CHECK (plan_id <> 'cursed')")


async def test_each_refused_row_is_told_with_its_line_and_the_rest_is_brought_in(customers: Customers) -> None:
    await prepare(customers)
    name = customers.write([row for row, _, _ in REFUSALS])
    with (customers.folder / name).open("a") as file:
        file.write('{"record"\n' + json.dumps(account("last")) + "\n")
    broken = "not JSON: EOF while parsing an object at column 9"
    expected = [(n, r["account_id"], why, said) for n, (r, why, said) in enumerate(REFUSALS, 1) if why]

    dry_run = customers.told(name, "--dry-run")
    exit_code, refused, sums = customers.told(name)

    told = [(row["line"], row["account_id"], row["reason"], row["detail"]) for row in refused]
    assert told == [*expected, (len(REFUSALS) + 1, None, "bad-row", broken)]
    assert exit_code == 1
    assert sums["opened"] == {"account": 2, "purchase": 1, "prospect": 0}
    assert sums["refused"] == {"account": 4, "purchase": 3, "prospect": 4, "unreadable": 1}
    assert dry_run == (exit_code, refused, sums | {"dry_run": True})
    assert customers.show("fine")["plan"]["plan_id"] == customers.show("last")["plan"]["plan_id"] == "pro"


async def test_refused_rows_are_lines_for_people_too(customers: Customers) -> None:
    done = customers.open(customers.write([account("acme"), prospect("acme", "p-1", "bought"), {"record": 7}]))

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "line 2 (acme): origin: literal_error",
        "line 3: record: not one of account, purchase, prospect",
    ]


# --- a dry run


def with_repeats() -> list[Fields]:
    """Accounts that go over several batches, and what comes twice: the same, or not quite."""
    rows = list(many(3, OPENING_ROWS_PER_BATCH_MAX + 700))
    at_end = [prospect("a2", "p1", "exported"), prospect("a2", "p2", "exported"), purchase("a2", "buy-1")]
    again = [account("a0", seats=9), prospect("a0", "p0"), prospect("a0", "p1", "imported"), prospect("a0", "late")]
    between = list(many(1, 0)) * OPENING_ROWS_PER_BATCH_MAX
    return [*rows, *at_end, *again, *between, purchase("a0", "buy-1", 7), purchase("a0", "buy-1", 8)]


async def test_a_dry_run_says_what_the_real_run_will_and_writes_nothing(customers: Customers) -> None:
    await prepare(customers)
    name = customers.write([*with_repeats(), *(row for row, _, _ in REFUSALS)])
    before = await customers.everything()

    dry_run = customers.told(name, "--dry-run")

    assert await customers.everything() == before
    real = customers.told(name)
    assert real[0] == 1
    assert len(real[1]) == 4 + len([why for _, why, _ in REFUSALS if why])
    assert real[2]["opened_before"] == {"account": OPENING_ROWS_PER_BATCH_MAX, "purchase": 0, "prospect": 2}
    assert dry_run == (real[0], real[1], real[2] | {"dry_run": True})


async def test_a_dry_run_speaks_of_what_would_be(customers: Customers) -> None:
    done = customers.open(customers.write(BASE, "customers.csv"), "--dry-run")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("Nothing was written. It would have come to:\n")
    assert "opened                   3           2           4\n" in done.stderr
    assert await customers.count("accounts") == 0


def test_a_dry_run_without_room_for_what_it_has_seen_says_so_in_a_line(customers: Customers) -> None:
    # Enough for what it prints, and not for its temporary file.
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))"

    done = customers.open(customers.write(many(3, 2 * OPENING_ROWS_PER_BATCH_MAX)), "--dry-run", first=full)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("credits: no room in the temporary folder (")
    assert "the same command may safely be run again" in done.stderr


# --- what is no file of customers


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("customers.csv", b"record,account_id,colour\n", "customers.csv has columns that are not known: colour"),
        ("customers.csv", b"", "customers.csv has no column record and no column account_id in its first line, which"),
        ("customers.csv", "record\n".encode("utf-16"), "customers.csv is not UTF-8"),
        ("customers.jsonl", "{}\n".encode("utf-16"), "customers.jsonl is not UTF-8"),
        ("customers.csv", None, "customers.csv: No such file or directory"),
        ("customers.txt", b"", "--format: needed, the file has none of the known endings"),
        ("-", None, "--format: needed, stdin has none of the known endings"),
        (".", None, "--format: needed, the file has none of the known endings"),
    ],
)
def test_what_is_wrong_with_the_whole_file_is_said_before_anything_is_asked_of_the_database(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    done = Customers(NOWHERE, tmp_path).open(name)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"credits: {said}")
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away_from_the_start_is_one_line(tmp_path: Path) -> None:
    customers = Customers(NOWHERE, tmp_path)

    done = customers.open(customers.write(BASE))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "no row was decided, and the same command may safely be run again" in done.stderr


# --- ends


async def feed(running: subprocess.Popen[str] | Piped[str], rows: Iterable[Fields]) -> None:
    stdin = cast("IO[str]", running.stdin)
    stdin.writelines(json.dumps(row) + "\n" for row in rows)
    stdin.flush()


def first_rows(number: int = 1) -> list[Fields]:
    """So many batches, of rows that all differ."""
    return [account(f"a{n}", remaining_credits=1) for n in range(number * OPENING_ROWS_PER_BATCH_MAX)]


async def test_stdin_is_read_to_its_end(customers: Customers) -> None:
    with customers.start("-", "--format", "jsonl") as running:
        await feed(running, first_rows())
        await eventually(lambda: customers.count("accounts"), what="the first batch is there before the end is")
        await feed(running, BASE)
        out, _ = running.communicate()

    assert (running.returncode, out) == (0, "")
    assert await customers.count("accounts") == OPENING_ROWS_PER_BATCH_MAX + 3


async def test_a_database_that_goes_away_ends_it_with_how_far_it_came(customers: Customers, stack: Addresses) -> None:
    name = urlsplit(customers.database_url).path.strip("/")
    with customers.speak("-", "--format", "jsonl") as running:
        await feed(running, first_rows())
        await eventually(lambda: customers.count("accounts"))
        async with connected(stack.database_url) as elsewhere:
            await elsewhere.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await elsewhere.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            out, err = running.communicate(json.dumps(account("one-more")))
            await elsewhere.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    assert (running.returncode, out) == (1, "")
    assert err.startswith("credits: the database does not answer: ")
    assert err.endswith(f"decided up to line 2000, and {AGAIN}\n")
    assert err.count("\n") == 1
    assert await customers.count("accounts") == OPENING_ROWS_PER_BATCH_MAX


async def test_ctrl_c_ends_it_while_it_waits_for_rows(customers: Customers) -> None:
    with customers.speak("-", "--format", "jsonl") as running:
        await feed(running, first_rows())
        await eventually(lambda: customers.count("accounts"))
        running.send_signal(signal.SIGINT)
        # Its stdin stays open.
        running.wait(patience(COMMAND_SECONDS_MAX))
        err = running.stderr.read()

    assert running.returncode == 130
    assert "opened                2000           0           0\n" in err
    assert err.endswith(f"Interrupted; decided up to line 2000, and {AGAIN}.\n")


async def test_ctrl_c_lets_the_batch_in_hand_end(customers: Customers) -> None:
    name = customers.write(first_rows(3))
    async with connected(customers.database_url) as connection:
        lock = connection.transaction()
        await lock.start()
        await connection.execute("LOCK TABLE credits.accounts IN EXCLUSIVE MODE")
        with customers.speak(name) as running:
            await eventually(lambda: waiting_for_a_lock(connection))
            running.send_signal(signal.SIGINT)
            await lock.rollback()
            _, err = running.communicate()

    assert running.returncode == 130
    assert err.endswith(f"Interrupted; decided up to line 2000, and {AGAIN}.\n")
    assert await customers.count("accounts") == OPENING_ROWS_PER_BATCH_MAX
    assert customers.told(name)[2]["opened_before"]["account"] == OPENING_ROWS_PER_BATCH_MAX


async def test_a_bar_on_the_terminal_leaves_stdout_to_the_data(customers: Customers) -> None:
    name = customers.write([*first_rows(), prospect("nobody", "p-1")])
    ours, theirs = pty.openpty()
    with customers.start(name, stderr=theirs) as running:
        os.close(theirs)
        drawn = read_terminal(ours)
        out = cast("IO[str]", running.stdout).read()
        running.wait(patience(COMMAND_SECONDS_MAX))

    assert out == "line 2001 (nobody): its account's row does not precede it\n"
    assert "Rows read" in drawn
    assert "refused                  0           0           1           0" in drawn


def read_terminal(descriptor: int) -> str:
    """All that is written there, until the last writer is gone."""
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:  # Linux's way of saying end of file
        pass
    os.close(descriptor)
    return b"".join(parts).decode()


@pytest.mark.footprint
async def test_memory_does_not_grow_with_the_file(customers: Customers) -> None:
    name = customers.write(many(10, 10_000))
    began_at = time.monotonic()

    with customers.start(name) as running:
        peak_kib = await peak_of(running)

    assert running.returncode == 0
    seconds = time.monotonic() - began_at
    print(f"{100_000 / seconds:,.0f} rows/s, at most {peak_kib / 1024:.0f} MiB")  # noqa: T201
    assert peak_kib < MEMORY_KIB_MAX


async def peak_of(running: subprocess.Popen[str]) -> int:
    """The most memory that the process ever had, in KiB, when last seen."""
    peak_kib = 0

    def has_ended() -> bool:
        nonlocal peak_kib
        if running.poll() is not None:
            return True
        with open(f"/proc/{running.pid}/status") as status:
            peak_kib = next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), peak_kib)
        return False

    await eventually(has_ended, within_seconds=150)
    return peak_kib

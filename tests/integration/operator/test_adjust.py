"""`credits adjust` on the real ledger: who gave or took what, and why; once, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest

from credit_contracts import Event, PlanChanged, ProspectGenerated
from credit_service.application.adjustments import AdjustmentAnswer, AdjustmentDesk
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.operator.adjustments import PostgresAdjustments
from credit_service.postgres.pool import open_pool
from credit_service.postgres.reads.queries import PostgresReads
from support.credits import decide_events, run_credits
from support.promises import violations
from support.traffic import event

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.service import Deployment

NOW = datetime.now(UTC)
LATER = (NOW + timedelta(days=3)).isoformat()
BECAUSE = ("--reason", "goodwill", "--operator", "lee", "--yes")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True)
class Commands:
    """The command on one database."""

    database_url: str
    folder: Path

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        chosen = {"database_url": self.database_url, "kafka_bootstrap_servers": "127.0.0.1:1"} | settings
        return run_credits("adjust", *arguments, folder=self.folder, **chosen)

    def told(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        done = self.run(*arguments, *BECAUSE, "--output", "json")
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def commands(database_url: str, tmp_path: Path) -> Commands:
    return Commands(database_url, tmp_path)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def with_an_account(database_url: str, monthly_credits: int | None = 10, *, spent: int = 1) -> None:
    plan = PlanChanged(account_id="acme", plan_id="p", monthly_credits=monthly_credits)
    charges = [ProspectGenerated(account_id="acme", prospect_id=f"p{n}") for n in range(spent)]
    at = NOW - timedelta(hours=1)
    await decide_events(
        database_url,
        Event("/tests", "plan", "plan-changed", at, plan),
        *(Event("/tests", c.prospect_id, "prospect-generated", at, c) for c in charges),
    )


async def everything(connection: Connection) -> list[list[asyncpg.Record]]:
    tables = ["accounts", "decisions", "entries", "grants", "adjustments", "outbox"]
    return [await connection.fetch(f"SELECT * FROM credits.{table} ORDER BY 1, 2, 3") for table in tables]


async def test_credits_are_given_with_who_and_why_and_published(commands: Commands, connection: Connection) -> None:
    await with_an_account(commands.database_url)

    exit_code, told = commands.told("acme", "+50", "--expires-at", LATER, "--id", "ticket-81")

    assert (exit_code, told["outcome"], told["is_new"], told["balance"]) == (0, "adjusted", True, 59)
    change = told["change"]
    assert (change["previous_balance"], change["balance"], change["amount"], change["sequence"]) == (9, 59, 50, 3)
    assert (change["operator"], change["reason"]) == ("lee", "goodwill")
    kept = await connection.fetchrow("SELECT amount, expires_at, operator, reason FROM credits.adjustments")
    assert kept is not None
    assert tuple(kept) == (50, datetime.fromisoformat(LATER), "lee", "goodwill")
    published = json.loads(
        await connection.fetchval("SELECT payload FROM credits.outbox ORDER BY outbox_id DESC LIMIT 1")
    )
    assert (published["reason"], published["delta"], published["balance"]) == ("adjustment", 50, 59)
    assert published["cause"] == {"source": "/credit-service", "id": "adjustment:ticket-81", "type": "adjustment"}


async def test_credits_are_taken_and_told_in_a_line(commands: Commands) -> None:
    await with_an_account(commands.database_url)

    done = commands.run("acme", "-5", *BECAUSE, "--id", "c-1")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "acme: 9 -> 4 credits (-5), sequence 3, id c-1\n"


async def test_the_same_id_again_answers_the_same_and_has_no_second_effect(
    commands: Commands, connection: Connection
) -> None:
    await with_an_account(commands.database_url)
    order = ("acme", "-5", "--id", "c-1")
    _, first = commands.told(*order)
    before = await everything(connection)

    exit_code, again = commands.told(*order)
    assert (exit_code, again) == (0, first | {"is_new": False})
    assert commands.told("acme", "-6", "--id", "c-1")[1]["outcome"] == "conflict"
    assert (
        commands.run("acme", "-5", "--reason", "another", "--operator", "lee", "--yes", "--id", "c-1").returncode == 1
    )
    assert await everything(connection) == before


async def test_without_an_id_each_is_one_of_its_own_and_says_how_to_give_it_again(
    commands: Commands, connection: Connection
) -> None:
    await with_an_account(commands.database_url)
    done = [commands.run("acme", "+1", *BECAUSE) for _ in range(2)]

    assert await connection.fetchval("SELECT balance FROM credits.accounts") == 11
    name = done[0].stderr.rpartition("--id ")[2].strip()
    again = commands.run("acme", "+1", *BECAUSE, "--id", name)
    assert again.stdout == "acme: 9 -> 10 credits (+1), sequence 3, id " + name + ", done before\n"
    assert await connection.fetchval("SELECT balance FROM credits.accounts") == 11


async def test_beneath_an_unlimited_plan_no_balance_shows(commands: Commands) -> None:
    await with_an_account(commands.database_url, None)
    done = commands.run("acme", "+5", *BECAUSE, "--id", "c")
    assert done.stdout == "acme: +5 credits beneath an unlimited plan, sequence 3, id c\n"
    assert commands.told("acme", "-2")[1]["change"]["balance"] is None


async def test_what_is_refused_is_told_in_a_line_and_changes_nothing(
    commands: Commands, connection: Connection
) -> None:
    await with_an_account(commands.database_url)
    before = await everything(connection)

    for arguments, outcome, words in (
        (["-10"], "below-zero", "acme has 9 credits, and 10 cannot be taken"),
        (["+1", "--expires-at", "2026-01-01T00:00:00Z"], "expired", "--expires-at has passed"),
    ):
        done = commands.run("acme", *arguments, *BECAUSE, "--id", "c")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"credits: nothing was adjusted: {words}\n"
        assert commands.told("acme", *arguments)[1]["outcome"] == outcome
    assert await everything(connection) == before


async def test_an_account_without_a_plan_is_not_open(commands: Commands) -> None:
    await decide_events(
        commands.database_url,
        Event("/tests", "e", "prospect-generated", NOW, ProspectGenerated(account_id="early", prospect_id="p")),
    )
    assert commands.told("early", "+1")[1]["outcome"] == "not-open"


async def test_wrong_use_is_one_line_and_changes_nothing(commands: Commands, connection: Connection) -> None:
    """What is seen before the database is asked is tried in `tests/unit/cli/test_cli_arguments.py`."""
    await with_an_account(commands.database_url)
    before = await everything(connection)
    for arguments, word in (
        (["acme", "five", *BECAUSE], "AMOUNT"),
        (["acme", "+0", *BECAUSE], "amount"),
        (["acme", "+1000000001", *BECAUSE], "amount"),
        (["acme", "-1", "--expires-at", LATER, *BECAUSE], "expiry"),
        (["acme", "+1", "--id", "x" * 129, *BECAUSE], "command id"),
        (["acme", "+5", "--reason", "r"], "--yes"),
        (["nobody", "+5", "--reason", "r"], "credits: there is no account 'nobody'\n"),
        (["nobody", "+5", "--reason", "r", "--yes"], "credits: there is no account 'nobody'\n"),
    ):
        done = commands.run(*arguments, *([] if "--id" in arguments else ["--id", "c"]))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        assert word in done.stderr
    # The account that nobody knows was not opened, either.
    assert await everything(connection) == before


async def test_adjustments_while_the_service_runs_keep_every_promise(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    service = await deployment.start()
    at = NOW - timedelta(hours=1)
    async with deployment.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=5), at)])
        await deployment.oracle().drained()
        orders = [("+3", "--expires-at", LATER), ("-7",), ("+2",)]
        for number, order in enumerate(orders):
            await upstream.send([event(ProspectGenerated(account_id="acme", prospect_id=f"p{number}"), at)])
            done = await asyncio.to_thread(
                run_credits,
                *("adjust", "acme", *order, *BECAUSE, "--id", f"c-{number}"),
                folder=deployment.folder,
                database_url=deployment.database_url,
                kafka_bootstrap_servers=deployment.kafka,
                topic_prefix=deployment.prefix,
            )
            assert done.returncode in (0, 1)
    observed = await deployment.oracle().check()
    assert await service.terminate() == 0

    published = [m.data()["delta"] for m in observed.outgoing["balance-changed"] if m.data()["reason"] == "adjustment"]
    assert published == [row["amount"] for row in observed.adjustments]
    assert len(published) >= 2
    observed.adjustments[0]["amount"] += 1
    assert {line.split(":")[0] for line in violations(observed)} == {"adjustments"}


async def test_who_gives_the_same_at_once_gives_it_once_and_nobody_takes_what_is_not_there(
    database_url: str, connection: Connection
) -> None:
    await with_an_account(database_url, 10, spent=0)
    async with open_pool(database_url) as pool:
        rules = Rules()
        ledger = PostgresLedger(pool, unparked_max=rules.unparked_max)
        desk = AdjustmentDesk(ledger, rules, PostgresReads(pool), PostgresAdjustments(pool))

        async def adjust(amount: int, name: str) -> AdjustmentAnswer:
            return await desk.adjust("acme", amount, expires_at=None, operator="lee", reason="r", command_id=name)

        same = await asyncio.gather(*(adjust(5, "same") for _ in range(6)))
        taken = await asyncio.gather(*(adjust(-4, f"t-{n}") for n in range(6)))

    assert [a.is_new for a in same].count(True) == 1
    assert len({a.change for a in same}) == 1
    assert sorted(a.outcome for a in taken) == ["adjusted"] * 3 + ["below-zero"] * 3
    assert await connection.fetchval("SELECT balance FROM credits.accounts") == 3

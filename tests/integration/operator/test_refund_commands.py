"""`credits refunds` on the real ledger: each request is decided once, and the same command again changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest

from credit_contracts import Event, IncomingData, PlanChanged, ProspectGenerated, ProspectStageChanged
from credit_contracts.incoming import EmailBounced
from credit_contracts.naming import topic_name
from credit_service import bounds
from credit_service.application.refunds.desk import RefundDesk, RefundRound, RequestSelection
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.operator.operations import PostgresOperationLog
from credit_service.postgres.operator.refunds import PostgresRefundRequests
from credit_service.postgres.pool import open_pool
from support.credits import decide_events, run_credits

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

NOW = datetime.now(UTC)
BEGAN = NOW - timedelta(hours=1)
BECAUSE = ("--reason", "wrong person", "--operator", "lee", "--yes")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_ids = count()


def event(data: IncomingData) -> Event[IncomingData]:
    number = next(_ids)
    return Event("/tests", f"e{number}", topic_name(type(data)), BEGAN + timedelta(seconds=number), data)


def asked(account: str, *prospects: str, monthly_credits: int | None = 10) -> list[Event[IncomingData]]:
    """An account whose prospects were charged, as 2, 3 and so on, and had a wrong e-mail."""
    plan = event(PlanChanged(account_id=account, plan_id="p", monthly_credits=monthly_credits))
    charges = [event(ProspectGenerated(account_id=account, prospect_id=p)) for p in prospects]
    wrong = [event(ProspectStageChanged(account_id=account, prospect_id=p, stage="wrong-email")) for p in prospects]
    return [plan, *charges, *wrong]


@dataclass(frozen=True)
class Refunds:
    """The commands on one database."""

    database_url: str
    folder: Path
    connection: Connection

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        chosen = {"database_url": self.database_url, "kafka_bootstrap_servers": "127.0.0.1:1"} | settings
        return run_credits("refunds", *arguments, folder=self.folder, **chosen)

    def told(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        done = self.run(*arguments, "--output", "json")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    async def take(self, *events: Event[IncomingData]) -> None:
        await decide_events(self.database_url, *events)

    async def statuses(self) -> dict[tuple[str, int], str]:
        rows = await self.connection.fetch(
            "SELECT account_id, charge_sequence, status::text FROM credits.refund_requests "
            "JOIN credits.accounts USING (account_no)"
        )
        return {(row[0], row[1]): row[2] for row in rows}

    async def everything(self) -> list[list[asyncpg.Record]]:
        tables = ["accounts", "decisions", "entries", "grants", "prospects", "refund_requests", "outbox"]
        return [await self.connection.fetch(f"SELECT * FROM credits.{table} ORDER BY 1, 2, 3") for table in tables]


@pytest.fixture
async def refunds(database_url: str, tmp_path: Path) -> AsyncIterator[Refunds]:
    connection = await asyncpg.connect(database_url)
    yield Refunds(database_url, tmp_path, connection)
    await connection.close()


def opened_with_a_charge(refunds: Refunds) -> None:
    """An account from before the ledger, with a prospect that was paid for there: the charge -2."""
    rows = [
        {
            "record": "account",
            "account_id": "old",
            "plan_id": "p",
            "monthly_credits": 5,
            "billing_anchor_at": BEGAN.isoformat(),
        },
        {"record": "prospect", "account_id": "old", "prospect_id": "ann", "origin": "generated"},
    ]
    (refunds.folder / "base.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    chosen = {"database_url": refunds.database_url, "kafka_bootstrap_servers": "127.0.0.1:1"}
    assert run_credits("open", "base.jsonl", folder=refunds.folder, **chosen).returncode == 0


# --- list and show


async def test_the_list_says_what_was_charged_and_how_and_begins_with_the_oldest(refunds: Refunds) -> None:
    await refunds.take(*asked("acme", "ann", "bob"))
    await refunds.take(*asked("free", "cy", monthly_credits=None))
    opened_with_a_charge(refunds)
    await refunds.take(event(ProspectStageChanged(account_id="old", prospect_id="ann", stage="wrong-email")))

    exit_code, lines = refunds.told("list")

    assert exit_code == 0
    said = [(r["account_id"], r["charge_sequence"], r["prospect_id"], r["paid_by"], r["grant_origin"]) for r in lines]
    assert said == [
        ("acme", 2, "ann", "grant", "plan"),
        ("acme", 3, "bob", "grant", "plan"),
        ("free", 2, "cy", "unlimited", None),
        ("old", -2, "ann", "before-ledger", None),
    ]
    assert [r["charged_at"] is None for r in lines] == [False, False, False, True]
    assert [r["charge_sequence"] for r in refunds.told("list", "--account", "acme", "--limit", "1")[1]] == [2]
    people = refunds.run("list")
    for word in ("acme", "bob", "plan grant 1", "nothing, unlimited", "before the ledger", "waiting"):
        assert word in people.stdout


async def test_the_list_can_be_of_any_status(refunds: Refunds) -> None:
    await refunds.take(*asked("acme", "ann", "bob", "cy", "dee"))
    refunds.run("approve", "acme", "2", *BECAUSE)
    refunds.run("reject", "acme", "3", *BECAUSE)
    bounce = Event("/tests", "late", "email-bounced", NOW, EmailBounced(account_id="acme", prospect_id="cy"))
    await refunds.take(bounce)

    def listed(status: str) -> list[int]:
        return [line["charge_sequence"] for line in refunds.told("list", "--status", status)[1]]

    assert [listed(s) for s in ("approved", "rejected", "overtaken", "waiting")] == [[2], [3], [4], [5]]
    assert listed("all") == [2, 3, 4, 5]
    nothing = refunds.run("list", "--account", "acme", "--status", "rejected", "--limit", "1")
    assert "bob" in nothing.stdout


async def test_an_empty_list_says_so(refunds: Refunds) -> None:
    done = refunds.run("list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No request is waiting.\n")


async def test_a_request_is_shown_with_its_charge_and_who_asked_and_decided(refunds: Refunds) -> None:
    events = asked("acme", "ann")
    await refunds.take(*events)
    refunds.run("approve", "acme", "2", *BECAUSE)

    exit_code, (shown,) = refunds.told("show", "acme", "2")

    assert exit_code == 0
    assert (shown["entry"]["previous_balance"], shown["entry"]["balance"]) == (10, 9)
    assert (shown["charged_by"]["id"], shown["charged_by"]["outcome"]) == (events[1].id, "charged")
    assert (shown["asked_by"]["id"], shown["asked_by"]["outcome"]) == (events[2].id, "refund-requested")
    assert shown["asked_by"]["place"]["topic"] == "prospect-stage-changed"
    assert (shown["decided_by"]["type"], shown["decided_by"]["outcome"]) == ("refund-approved", "refunded")
    assert (shown["status"], shown["operator"], shown["reason"]) == ("approved", "lee", "wrong person")
    assert shown["refund_sequence"] == 3
    people = refunds.run("show", "acme", "2").stdout
    for word in ("10 -> 9 credits", "plan grant 1", "approved", "lee", "wrong person"):
        assert word in people


async def test_a_charge_from_before_the_ledger_has_a_negative_number(refunds: Refunds) -> None:
    opened_with_a_charge(refunds)
    await refunds.take(event(ProspectStageChanged(account_id="old", prospect_id="ann", stage="wrong-email")))

    for arguments in (("show", "old", "-2"), ("show", "old", "--", "-2")):
        done = refunds.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "before the ledger" in done.stdout
    exit_code, (told,) = refunds.told("approve", "old", "-2", *BECAUSE)
    assert (exit_code, told["outcome"]) == (0, "refunded")
    assert refunds.told("show", "old", "-2")[1][0]["charged_by"]["outcome"] == "opened"


# --- approve and reject


async def test_several_are_approved_and_each_is_told(refunds: Refunds) -> None:
    await refunds.take(*asked("acme", "ann", "bob", "cy"))

    done = refunds.run("approve", "acme", "2", "4", *BECAUSE)

    assert (done.returncode, done.stdout) == (0, "acme 2: refunded\nacme 4: refunded\n")
    assert "ann" in done.stderr
    assert done.stderr.endswith("2 refunded\n")
    assert await refunds.statuses() == {("acme", 2): "approved", ("acme", 3): "waiting", ("acme", 4): "approved"}
    assert await refunds.connection.fetchval("SELECT balance FROM credits.accounts") == 9


async def test_the_same_command_again_has_no_second_effect_and_is_well(refunds: Refunds) -> None:
    await refunds.take(*asked("acme", "ann", "bob"))
    for verb, charge, outcome in (("approve", "2", "refunded"), ("reject", "3", "rejected")):
        refunds.run(verb, "acme", charge, *BECAUSE)
        before = await refunds.everything()
        again = refunds.run(verb, "acme", charge, *BECAUSE)
        assert (again.returncode, again.stdout) == (0, f"acme {charge}: {outcome}, done before\n")
        assert await refunds.everything() == before


async def test_what_has_no_effect_is_told_for_each_and_is_not_well(refunds: Refunds) -> None:
    await refunds.take(*asked("acme", "ann", "bob", "cy"))
    refunds.run("reject", "acme", "2", *BECAUSE)
    bounce = Event("/tests", "late", "email-bounced", NOW, EmailBounced(account_id="acme", prospect_id="bob"))
    await refunds.take(bounce)

    exit_code, told = refunds.told("approve", "acme", "2", "3", "4", "99", *BECAUSE)

    assert exit_code == 1
    assert [line["outcome"] for line in told] == ["already-decided", "already-refunded", "refunded", "unknown-request"]
    by_another = ("--reason", "wrong person", "--operator", "sam", "--yes")
    exit_code, told = refunds.told("approve", "acme", "4", *by_another)
    assert (exit_code, told[0]["outcome"]) == (1, "already-decided")


async def test_all_that_wait_are_decided_after_asking_and_only_of_the_account(refunds: Refunds) -> None:
    await refunds.take(*asked("acme", *(f"p{n}" for n in range(12)), monthly_credits=20))
    await refunds.take(*asked("bolt", "ann"))
    every = ("reject", "--all-waiting", "--account", "acme", "--reason", "list is fine", "--operator", "lee")

    asked_first = refunds.run(*every)
    assert (asked_first.returncode, asked_first.stdout) == (2, "")
    assert "... and 2 more" in asked_first.stderr
    assert set((await refunds.statuses()).values()) == {"waiting"}
    done = refunds.run(*every, "--yes")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 12)
    assert {name for (name, _), status in (await refunds.statuses()).items() if status == "waiting"} == {"bolt"}
    (operation,) = await refunds.connection.fetch("SELECT * FROM credits.operations")
    assert (operation["kind"], operation["operator"], operation["reason"]) == ("refunds-reject", "lee", "list is fine")
    assert json.loads(operation["result"]) == {"rejected": 12}
    rest = refunds.run("approve", "--all-waiting", *BECAUSE)
    assert (rest.returncode, rest.stdout) == (0, "bolt 2: refunded\n")
    none = refunds.run("approve", "--all-waiting", *BECAUSE)
    assert (none.returncode, none.stderr) == (0, "No request waits.\n")


async def test_a_round_goes_page_by_page_through_all_that_were_counted(
    refunds: Refunds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "REQUESTS_PER_PAGE", 3)
    await refunds.take(*asked("acme", *(f"p{n}" for n in range(7)), monthly_credits=20))
    async with open_pool(refunds.database_url) as pool:
        rules = Rules()
        requests = PostgresRefundRequests(pool)
        desk = RefundRound(
            RefundDesk(PostgresLedger(pool, unparked_max=100), rules), requests, PostgresOperationLog(pool)
        )
        before = (await requests.waiting(None)).at
        await refunds.take(*asked("bolt", "later"))
        told = [
            one
            async for one in desk.decide(RequestSelection(None, up_to=before), approve=True, operator="lee", reason="r")
        ]

    assert [(one.account_id, one.charge_sequence, one.outcome) for one in told] == [
        ("acme", 2 + n, "refunded") for n in range(7)
    ]
    assert (await refunds.statuses())["bolt", 2] == "waiting"


async def test_a_round_that_ends_in_its_midst_is_finished_by_the_same_command(refunds: Refunds) -> None:
    await refunds.take(*asked("acme", *(f"p{n}" for n in range(5)), monthly_credits=20))
    async with open_pool(refunds.database_url) as pool:
        desk = RefundRound(
            RefundDesk(PostgresLedger(pool, unparked_max=100), Rules()),
            PostgresRefundRequests(pool),
            PostgresOperationLog(pool),
        )
        decided = desk.decide(RequestSelection("acme"), approve=True, operator="lee", reason="wrong person")
        await anext(decided)
        await anext(decided)
        await decided.aclose()

    done = refunds.run("approve", "--all-waiting", *BECAUSE)

    assert len(done.stdout.splitlines()) == 3
    assert set((await refunds.statuses()).values()) == {"approved"}
    assert await refunds.connection.fetchval("SELECT balance FROM credits.accounts") == 20


async def test_a_round_about_an_unknown_account_opens_none(refunds: Refunds) -> None:
    async with open_pool(refunds.database_url) as pool:
        desk = RefundRound(
            RefundDesk(PostgresLedger(pool, unparked_max=100), Rules()),
            PostgresRefundRequests(pool),
            PostgresOperationLog(pool),
        )
        asked_about = RequestSelection("nobody", charges=[2])
        told = [one async for one in desk.decide(asked_about, approve=True, operator="lee", reason="r")]

    assert [one.outcome for one in told] == ["unknown-account"]
    assert await refunds.connection.fetchval("SELECT count(*) FROM credits.accounts") == 0


# --- wrong use


async def test_wrong_use_is_one_line_and_opens_no_account(refunds: Refunds) -> None:
    """What is seen before the database is asked is tried in `tests/unit/cli/test_cli_arguments.py`."""
    await refunds.take(*asked("acme", "ann"))
    before = await refunds.everything()
    for arguments, word in (
        (["list", "--account", "nobody"], "there is no account 'nobody'"),
        (["show", "nobody", "2"], "there is no account 'nobody'"),
        (["show", "acme", "77"], "nobody asked to refund the charge 77"),
        (["approve", "nobody", "2", *BECAUSE], "there is no account 'nobody'"),
        (["approve", "--all-waiting", "--account", "nobody", *BECAUSE], "there is no account 'nobody'"),
        (["reject", "acme", "--all-waiting", *BECAUSE], "say which"),
        (["reject", "acme", "2", "--reason", " ", "--yes"], "reason: between 1 and"),
    ):
        done = refunds.run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr.splitlines()[-1].startswith("credits: ")
        assert word in done.stderr
    assert await refunds.everything() == before

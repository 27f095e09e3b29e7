"""`credits account list` and `credits account entries`: what ops and finance look at."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from credit_contracts import CreditsPurchased, EmailBounced, IncomingData, PlanChanged, ProspectGenerated
from credit_contracts.outgoing import Reason
from credit_local_stack import Addresses
from credit_service.application.export import ExportedAccount, ExportedEntry
from credit_service.cli.account import Kind
from support.credits import environment, run_credits
from support.explained import Ledger, ledger_of, records_of
from support.forked import Piped, piped_bytes
from support.observed import Row, observe_ledger
from support.patience import patience
from support.stack import fresh_database, in_a_loop_of_its_own
from support.traffic import event, month_of_traffic

# Each is filled once.
OF_FOUR = pytest.mark.xdist_group("four-accounts")
OF_MANY = pytest.mark.xdist_group("many-entries")
BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


class Commands:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.settings: dict[str, object] = {"database_url": url, "kafka_bootstrap_servers": "127.0.0.1:1"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_credits("account", *arguments, folder=self.folder, **self.settings)

    def rows(self, *arguments: str) -> list[Row]:
        done = self.run(*arguments, "--output", "json")
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ids(self, *arguments: str) -> list[str]:
        return [row["account_id"] for row in self.rows("list", *arguments)]


@pytest.fixture
def commands(database_url: str, tmp_path: Path) -> Commands:
    return Commands(database_url, tmp_path)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with ledger_of(database_url) as ledger:
        yield ledger


def plan(account_id: str, monthly_credits: int | None, plan_id: str = "pro") -> PlanChanged:
    return PlanChanged(account_id=account_id, plan_id=plan_id, monthly_credits=monthly_credits)


async def four_accounts(database_url: str) -> None:
    given: list[IncomingData] = [
        plan("a-low", 3),
        plan("a-high", 700),
        plan("b-free", None, "max"),
        ProspectGenerated(account_id="b-waits", prospect_id="p"),
        ProspectGenerated(account_id="a-low", prospect_id="p"),
    ]
    async with ledger_of(database_url) as ledger:
        await ledger.take(records_of([event(data, BEGAN + timedelta(minutes=n)) for n, data in enumerate(given)]))


@pytest.fixture(scope="module")
def of_four(shared_database_url: str) -> str:
    """A database with four accounts, for those who only look."""
    in_a_loop_of_its_own(lambda: four_accounts(shared_database_url))
    return shared_database_url


@pytest.fixture
def looks(of_four: str, tmp_path: Path) -> Commands:
    """The commands on it."""
    return Commands(of_four, tmp_path)


@OF_FOUR
def test_accounts_are_listed_as_they_stand(looks: Commands) -> None:
    rows = looks.rows("list")
    assert list(rows[0]) == list(ExportedAccount._fields)
    assert [row["account_id"] for row in rows] == ["a-high", "a-low", "b-free", "b-waits"]
    assert rows[1] | {"period_ends_at": None} == {
        "account_id": "a-low",
        "balance": 2,
        "unlimited": False,
        "plan_id": "pro",
        "monthly_credits": 3,
        "period_ends_at": None,
        "declined_in_period": 0,
        "sequence": 2,
    }
    assert rows[1]["period_ends_at"].endswith("000000Z")
    assert (rows[2]["balance"], rows[2]["unlimited"], rows[2]["monthly_credits"]) == (None, True, None)
    assert (rows[3]["plan_id"], rows[3]["period_ends_at"]) == (None, None)


@OF_FOUR
def test_accounts_are_chosen(looks: Commands) -> None:
    assert looks.ids("--below", "3") == ["a-low", "b-waits"]
    assert looks.ids("--below", "2") == ["b-waits"]
    assert looks.ids("--unlimited") == ["b-free"]
    assert looks.ids("--plan", "pro") == ["a-high", "a-low"]
    assert looks.ids("--prefix", "b-") == ["b-free", "b-waits"]
    assert looks.ids("--prefix", "a-low") == ["a-low"]
    assert looks.ids("--prefix", "a%") == []
    assert looks.ids("--parked") == ["b-waits"]
    assert looks.ids("--limit", "2") == ["a-high", "a-low"]
    assert looks.ids("--prefix", "a-", "--below", "10", "--plan", "pro") == ["a-low"]


@OF_FOUR
def test_for_people_columns_are_aligned(looks: Commands) -> None:
    done = looks.run("list")
    head, *lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (0, 4)
    assert head.split() == list(ExportedAccount._fields)
    assert [line.split()[1] for line in lines] == ["700", "2", "-", "0"]
    # Numbers stand below the end of their column's name.
    end = head.index("balance") + len("balance")
    assert all(line[end - 1] != " " and line[end] == " " for line in lines)


async def test_entries_are_the_ledger_row_by_row(commands: Commands, ledger: Ledger) -> None:
    await ledger.take(records_of(month_of_traffic(11, accounts=6, events=300)))
    observed = await observe_ledger(commands.url, "")
    decisions = {(row["account_id"], row["position"]): row for row in observed.decisions}
    numbers = {
        row["account_id"]: row["account_no"]
        for row in await ledger.connection.fetch("SELECT account_id, account_no FROM credits.accounts")
    }
    expected = []
    for entry in sorted(observed.entries, key=lambda e: (numbers[e["account_id"]], e["sequence"], e["line"])):
        cause = decisions[entry["account_id"], entry["position"]]
        told = entry | {f"cause_{name}": cause[name] for name in ("source", "id", "type")}
        told["prospect_id"] = cause["prospect_id"]
        expected.append({name: told[name] for name in ExportedEntry._fields})
    rows = commands.rows("entries")
    assert [list(row) for row in rows] == [list(ExportedEntry._fields)] * len(rows)
    for row in rows:
        for name in ("occurred_at", "recorded_at", "period_ends_at"):
            row[name] = row[name] and datetime.fromisoformat(row[name])
    assert rows == expected
    one = expected[-1]["account_id"]
    assert [row["sequence"] for row in commands.rows("entries", one)] == [
        row["sequence"] for row in expected if row["account_id"] == one
    ]
    assert {row["reason"] for row in commands.rows("entries", "--reason", "lapse")} == {"lapse"}
    table = csv.DictReader(io.StringIO(commands.run("entries", "--output", "csv").stdout))
    assert [(row["account_id"], int(row["amount"])) for row in table] == [(r["account_id"], r["amount"]) for r in rows]
    lines = commands.run("entries").stdout.splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0].split() == list(ExportedEntry._fields)


async def test_ranges_that_follow_each_other_have_every_row_once(commands: Commands, ledger: Ledger) -> None:
    records = records_of(month_of_traffic(12, accounts=4, events=200))
    for at in range(0, len(records), 40):
        await ledger.take(records[at : at + 40])
    everything = commands.rows("entries")
    recorded = sorted({row["recorded_at"] for row in everything})
    assert len(recorded) > 3
    # The bound itself is recorded at that very time: it belongs to the later range.
    bound = recorded[2]
    before, after = commands.rows("entries", "--to", bound), commands.rows("entries", "--from", bound)
    assert [row for row in everything if row["recorded_at"] < bound] == before
    assert [row for row in everything if row["recorded_at"] >= bound] == after
    between = commands.rows("entries", "--from", recorded[1], "--to", recorded[2])
    assert between == [row for row in everything if row["recorded_at"] == recorded[1]]


async def test_in_csv_no_id_is_a_formula(commands: Commands, ledger: Ledger) -> None:
    ids = ["=1+1", "+49", "-7", "@a", "'q", 'say "hi", you', "ünï"]
    await ledger.take(records_of([event(plan(account_id, 5), BEGAN) for account_id in ids]))
    await ledger.take(records_of([event(ProspectGenerated(account_id="=1+1", prospect_id="=p"), BEGAN)]))
    listed = list(csv.DictReader(io.StringIO(commands.run("list", "--output", "csv").stdout)))
    assert sorted(row["account_id"] for row in listed) == sorted(
        ["'=1+1", "'+49", "'-7", "'@a", "''q", 'say "hi", you', "ünï"]
    )
    assert {row["unlimited"] for row in listed} == {"false"}
    charge = list(csv.DictReader(io.StringIO(commands.run("entries", "=1+1", "--output", "csv").stdout)))[-1]
    assert (charge["prospect_id"], charge["amount"]) == ("'=p", "-1")
    # Programs get them as they are.
    assert sorted(commands.ids()) == sorted(ids)


@OF_FOUR
def test_nothing_found_is_a_header_and_no_fault(looks: Commands) -> None:
    assert looks.run("list", "--prefix", "z", "--output", "csv").stdout == ",".join(ExportedAccount._fields) + "\n"
    assert looks.run("entries", "b-waits").stdout.split() == list(ExportedEntry._fields)
    assert looks.rows("entries", "b-waits") == []


@OF_FOUR
def test_wrong_use_is_one_line_and_exit_code_2(looks: Commands) -> None:
    """What is seen before the database is asked is tried in `tests/unit/cli/test_cli_arguments.py`."""
    for arguments, words in (
        (["entries", "nobody"], "there is no account 'nobody'"),
        (["entries", "--from", "2026-02-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"], "the range is empty"),
    ):
        done = looks.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        assert words in done.stderr


@OF_FOUR
def test_a_time_without_a_zone_is_taken_as_utc_and_said_so(looks: Commands) -> None:
    done = looks.run("entries", "--from", "2026-02-01")
    assert (done.returncode, done.stderr) == (0, "--from: 2026-02-01 has no zone and is taken as UTC\n")


async def test_the_example_of_its_help_works(commands: Commands, ledger: Ledger) -> None:
    await ledger.take(records_of([event(plan("acme", 5), BEGAN)]))
    for command in ("list", "entries", "show"):
        helped = re.sub(r"[│\s]+", " ", commands.run(command, "--help").stdout)
        (example,) = re.findall(r"Example: credits account (.*?) [╭+]", helped)
        done = commands.run(*example.split())
        assert (done.returncode, done.stderr) == (0, ""), done


def test_each_reason_of_a_change_can_be_asked_for() -> None:
    assert [kind.value for kind in Kind] == list(get_args(Reason))


async def many_entries(database_url: str) -> None:
    """More than any pipe takes in."""
    given: list[IncomingData] = [plan("many", 3_000), CreditsPurchased(account_id="many", purchase_id="b", credits=1)]
    given += [ProspectGenerated(account_id="many", prospect_id=f"p-{n}") for n in range(2_500)]
    given += [EmailBounced(account_id="many", prospect_id=f"p-{n}") for n in range(500)]
    async with ledger_of(database_url) as ledger:
        await ledger.take(records_of([event(data, BEGAN + timedelta(seconds=n)) for n, data in enumerate(given)]))


@pytest.fixture(scope="module")
def of_many(stack: Addresses, database_template: str) -> Iterator[str]:
    """A database with these, for those who only look."""
    with fresh_database(stack.database_url, database_template) as url:
        in_a_loop_of_its_own(lambda: many_entries(url))
        yield url


LONG = [
    ["account", "entries", "--output", "csv"],
    ["account", "entries"],
    ["explain", "many", "--full"],
    ["explain", "many", "--output", "json"],
]


def start(url: str, folder: Path, command: list[str]) -> Piped[bytes]:
    """Unbuffered, as in many a container: then Python drops what a signal keeps a pipe from taking."""
    settings = environment(**Commands(url, folder).settings) | {"PYTHONUNBUFFERED": "1"}
    return piped_bytes(*command, environment=settings, folder=folder)


@OF_MANY
@pytest.mark.parametrize("command", LONG)
def test_whoever_has_read_enough_is_no_traceback(command: list[str], of_many: str, tmp_path: Path) -> None:
    with start(of_many, tmp_path, command) as process:
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        # What the library makes of a closed pipe; the shell's own code would do as well.
        assert process.wait(patience(30)) in (1, 141)


@OF_MANY
@pytest.mark.parametrize("command", LONG[:3])
def test_ctrl_c_leaves_whole_lines_and_no_traceback(command: list[str], of_many: str, tmp_path: Path) -> None:
    with start(of_many, tmp_path, command) as process:
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, talk = process.communicate(timeout=patience(30))
    assert (process.returncode, talk) == (130, b"")
    assert rest.endswith(b"\n")

"""Millions of rows go through memory a block at a time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from credit_local_stack import Addresses
from support.credits import CREDITS, environment
from support.patience import patience
from support.stack import fresh_database

FEW, MANY = 2_000, 120_000
# Of what a process takes in any case there are some 70 MB; all rows of the many at once would be hundreds.
GROWTH_KIB_MAX = 24 * 1024

ROWS = """
WITH a AS (SELECT account_no, sequence AS entries FROM credits.accounts WHERE account_id = $1),
decided AS (
    INSERT INTO credits.decisions (account_no, position, key, content, content_version, source, id, type, outcome,
        occurred_at, decided_at, prospect_id, partition, "offset")
    SELECT account_no, n, decode(md5($1 || n), 'hex'), decode(md5('c'), 'hex'), 1, '/campaigns',
        credits.packed('event-' || n), 'prospect-generated', 'charged', now(), now(), credits.packed('prospect-' || n),
        0, n
    FROM a, generate_series(1, entries) AS n
),
granted AS (
    INSERT INTO credits.grants (account_no, grant_id, origin, amount, remaining, effective_at, open, position)
    SELECT account_no, 1, 'plan', 10000000, 10000000 - entries + 1, now(), true, 1 FROM a
)
INSERT INTO credits.entries (account_no, sequence, line, grant_id, amount, previous_balance, balance, reason, position,
    occurred_at, recorded_at)
SELECT account_no, n, 0, 1, CASE n WHEN 1 THEN 10000000 ELSE -1 END,
    CASE n WHEN 1 THEN 0 ELSE 10000000 - n + 2 END, 10000000 - n + 1,
    CASE n WHEN 1 THEN 'plan_change' ELSE 'charge' END::credits.change_reason, n, now(), now()
FROM a, generate_series(1, entries) AS n
"""

MEASURE = """
import resource, subprocess, sys
with open(sys.argv[1], "wb") as output:
    subprocess.run(sys.argv[2:], stdout=output, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.fixture(scope="module")
def filled_url(stack: Addresses, database_template: str) -> Iterator[str]:
    """Two accounts: one with few entries, and one with a hundred times as many."""
    with fresh_database(stack.database_url, database_template) as url:

        async def fill() -> None:
            connection = await asyncpg.connect(url)
            await connection.execute(
                "INSERT INTO credits.accounts (account_id, partition_hash, balance, sequence, position)"
                " SELECT name, 1, 10000001 - entries, entries, entries"
                f" FROM (VALUES ('few', {FEW}), ('many', {MANY})) AS a (name, entries)"
            )
            for name in ("few", "many"):
                await connection.execute(ROWS, name, timeout=patience(300))
            await connection.execute("VACUUM ANALYZE")
            await connection.close()

        asyncio.run(fill())
        yield url


def peak_kib(url: str, output: Path, *arguments: str) -> int:
    """The most memory that the command took, whose data go to the file `output`."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, output, CREDITS, *arguments],
        env=environment(database_url=url, kafka_bootstrap_servers="127.0.0.1:1"),
        cwd=output.parent,
        capture_output=True,
        text=True,
        timeout=patience(300),
        check=True,
    )
    assert done.stderr == ""
    return int(done.stdout)


def lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


@pytest.mark.footprint
@pytest.mark.parametrize("output", ["csv", "json", "text"])
def test_memory_does_not_grow_with_the_entries(output: str, filled_url: str, tmp_path: Path) -> None:
    path = tmp_path / "entries"
    few = peak_kib(filled_url, path, "account", "entries", "few", "--output", output)
    header = output != "json"
    assert lines_of(path) == FEW + header
    many = peak_kib(filled_url, path, "account", "entries", "--output", output)
    assert lines_of(path) == FEW + MANY + header
    assert many - few < GROWTH_KIB_MAX


@pytest.mark.footprint
@pytest.mark.parametrize("arguments", [["--full"], ["--output", "json"], [], ["--prospect", "prospect-2"]])
def test_memory_does_not_grow_with_what_is_explained(arguments: list[str], filled_url: str, tmp_path: Path) -> None:
    path = tmp_path / "explained"
    few = peak_kib(filled_url, path, "explain", "few", *arguments)
    of_few = path.stat().st_size
    many = peak_kib(filled_url, path, "explain", "many", *arguments)
    if arguments[:1] in (["--full"], ["--output"]):
        assert path.stat().st_size > of_few * MANY / FEW
    assert many - few < GROWTH_KIB_MAX

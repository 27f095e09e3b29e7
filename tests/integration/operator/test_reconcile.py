"""What was tampered with by hand is named, exactly, and nothing else; what may be mended is, and agrees again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from credit_service.postgres.reconcile.repair import exclusive_repair
from support.credits import CREDITS, environment
from support.filled import copy_of, filled_deployment
from support.forked import Forked
from support.locks import waiting_for_a_lock
from support.observed import CHANGES, DECLINES
from support.reconciled import Run, reconcile
from support.replays import settings_of
from support.small import fill, generated
from support.topics import delete_records
from support.traffic import random_traffic
from support.wait import eventually
from support.worked_off import publish, work_off, work_off_unpublished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from credit_local_stack import Addresses
    from support.observed import Observed
    from support.service import Deployment


async def repaired(deployment: Deployment) -> Run:
    """A repair of all there is, with what it left in the outbox published; the run after it."""
    mended = await reconcile(deployment, "--repair", "--yes", "--reason", "a test", "--operator", "lee")
    assert "Traceback" not in mended.said
    await work_off(deployment)
    return await reconcile(deployment)


@pytest.fixture(scope="module")
def filled(stack: Addresses, database_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with filled_deployment(stack, database_template, tmp_path_factory.mktemp("filled"), fill) as filled:
        yield filled


@pytest.fixture
def decided(filled: Deployment, stack: Addresses, tmp_path: Path) -> Iterator[Deployment]:
    """Two accounts with a plan and a charge each, decided and published; nothing may be sent to its topics."""
    with copy_of(filled, stack, tmp_path) as deployment:
        yield deployment


@pytest.fixture
async def small(deployment: Deployment) -> Deployment:
    """As `decided`, with topics of its own."""
    await fill(deployment)
    return deployment


@pytest.fixture
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """To the database of the test's deployment."""
    name = "decided" if "decided" in request.fixturenames else "deployment"
    connection = await asyncpg.connect(request.getfixturevalue(name).database_url)
    yield connection
    await connection.close()


async def assert_is_told_to_agree(deployment: Deployment, observed: Observed) -> None:
    run = await reconcile(deployment)
    assert (run.exit_code, run.findings, run.said) == (0, [], "")
    compared = run.summary["compared"]
    assert compared["messages"] == len(observed.incoming)
    assert compared["decisions"] == len(observed.decisions)
    assert compared["accounts"] == len(observed.accounts)
    assert compared["published"] == len(observed.outgoing[CHANGES]) + len(observed.outgoing[DECLINES])
    assert run.summary["could_not_tell"] == []


HISTORY = "SET session_replication_role = replica"
"""Turns the triggers off, as somebody might who knows what is right."""

TAMPERED = {
    "balance-differs": "UPDATE credits.accounts SET balance = balance + 1 WHERE account_no = $1",
    "entry-missing": "DELETE FROM credits.entries WHERE account_no = $1 AND reason = 'charge' AND sequence = $2",
    "decision-missing": "DELETE FROM credits.decisions WHERE account_no = $1 AND position = $2",
    "decision-differs": "UPDATE credits.decisions SET outcome = 'free' WHERE account_no = $1 AND position = $2",
    "grant-differs": "UPDATE credits.grants SET remaining = remaining - 1 WHERE account_no = $1 AND grant_id = $2",
    "prospect-differs": "DELETE FROM credits.prospects WHERE account_no = $1 AND charge_sequence = $2",
    "message-differs": "UPDATE credits.decisions SET content = key WHERE account_no = $1 AND position = $2",
    "message-extra": "UPDATE credits.decisions SET partition = 999 WHERE account_no = $1 AND position = $2",
}
"""Each is told of what it was done to, and of nothing else."""

ENTRIES = "SELECT * FROM credits.entries ORDER BY account_no, sequence, line"

DECIDED = 'SELECT type::text, partition, "offset" FROM credits.decisions WHERE account_no = $1 AND position = $2'
CHARGED = """SELECT credits.unpacked(d.prospect_id) FROM credits.entries AS e JOIN credits.decisions AS d
USING (account_no, position) WHERE e.account_no = $1 AND sequence = $2"""

MENDED = {"balance-differs", "grant-differs", "decision-missing"}
"""What a repair makes anew; the rest is for a person."""

PICKED = {
    "entry-missing": "SELECT max(sequence) FROM credits.entries WHERE account_no = $1 AND reason = 'charge'",
    "decision-missing": "SELECT max(position) FROM credits.decisions WHERE account_no = $1 AND outcome = 'charged'",
    "decision-differs": "SELECT max(position) FROM credits.decisions WHERE account_no = $1 AND outcome = 'charged'",
    "grant-differs": "SELECT max(grant_id) FROM credits.grants WHERE account_no = $1 AND remaining > 0",
    "prospect-differs": "SELECT max(charge_sequence) FROM credits.prospects WHERE account_no = $1",
    "message-differs": "SELECT max(position) FROM credits.decisions WHERE account_no = $1 AND outcome = 'charged'",
    "message-extra": "SELECT max(position) FROM credits.decisions WHERE account_no = $1 AND outcome = 'charged'",
}
"""What is tampered with: something in the midst of an account's history."""


async def tamper(connection: Any, kind: str, number: int, prefix: str) -> str | None:
    """Does it to the account of this number; returns what it should be told of, None if it has nothing of the kind."""
    account_id = await connection.fetchval("SELECT account_id FROM credits.accounts WHERE account_no = $1", number)
    if kind not in PICKED:
        await connection.execute(TAMPERED[kind], number)
        return str(account_id)
    picked = await connection.fetchval(PICKED[kind], number)
    if picked is None:
        return None
    type_, partition, offset = await connection.fetchrow(DECIDED, number, picked)
    prospect_id = await connection.fetchval(CHARGED, number, picked)
    assert (await connection.execute(TAMPERED[kind], number, picked)).split()[-1] == "1"
    return {
        "entry-missing": f"{account_id}:{picked}",
        "grant-differs": f"{account_id}, grant {picked}",
        "prospect-differs": str(prospect_id),
        "message-differs": f"{prefix}{type_}/{partition}@{offset}",
        "message-extra": f"{prefix}{type_}/999@{offset}",
    }.get(kind, f"{account_id}, position {picked}")


async def tampered_with(connection: Any, prefix: str) -> set[tuple[str, str]]:
    """Each tampering, done to an account of its own."""
    numbers = [row[0] for row in await connection.fetch("SELECT account_no FROM credits.accounts ORDER BY 1")]
    done: set[tuple[str, str]] = set()
    for kind in sorted(TAMPERED, key=lambda kind: kind not in PICKED):
        for number in list(numbers):
            subject = await tamper(connection, kind, number, prefix)
            if subject is not None:
                done.add((kind, subject))
                numbers.remove(number)
                break
    assert {kind for kind, _ in done} == set(TAMPERED)
    return done


async def test_what_agrees_is_told_so_and_what_was_tampered_with_is_named_and_nothing_else(
    deployment: Deployment, connection: Any
) -> None:
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(4, accounts=len(TAMPERED), events=1200))
    await work_off(deployment)
    await assert_is_told_to_agree(deployment, await deployment.oracle().check())

    await connection.execute(HISTORY)
    tampered = await tampered_with(connection, deployment.prefix)
    entries = await connection.fetch(ENTRIES)
    run = await reconcile(deployment)
    assert (run.exit_code, run.found) == (1, tampered)
    assert len(run.findings) == len(tampered)  # each once

    again = await repaired(deployment)
    assert (again.exit_code, again.found) == (1, {one for one in tampered if one[0] not in MENDED})
    assert await connection.fetch(ENTRIES) == entries


async def test_a_message_that_was_passed_over_is_decided_by_a_repair(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        (sent,) = await upstream.send([generated("acme", "cy")])
    await connection.execute(
        "UPDATE credits.partition_offsets SET next_offset = $3 WHERE topic = $1 AND partition = $2",
        sent.topic,
        sent.partition,
        sent.offset + 1,
    )
    run = await reconcile(small)
    assert (run.exit_code, run.found) == (1, {("message-missing", f"{sent.topic}/{sent.partition}@{sent.offset}")})

    dry = await reconcile(small, "--repair", "--reason", "a test")
    assert (dry.exit_code, dry.said.splitlines()[-1]) == (
        2,
        "credits: no terminal to ask on: add --yes",
    )
    assert await connection.fetchval("SELECT count(*) FROM credits.operations") == 0

    again = await repaired(small)
    assert (again.exit_code, again.found) == (0, set())
    assert await connection.fetchval("SELECT balance FROM credits.accounts WHERE account_id = 'acme'") == 8
    kept = await connection.fetchrow("SELECT kind, operator, reason, ended_as, result FROM credits.operations")
    assert tuple(kept)[:4] == ("repair", "lee", "a test", "done")
    assert json.loads(kept["result"]) == {"process": 1, "refused": 0}
    await small.oracle().check()


async def test_of_two_repairs_at_once_one_is_refused(decided: Deployment) -> None:
    async with exclusive_repair(decided.database_url) as is_alone:
        assert is_alone
        run = await reconcile(decided, "--repair", "--reason", "a test")
        assert (run.exit_code, run.said) == (1, "credits: another repair runs: try again once it has ended\n")
        assert (await reconcile(decided)).exit_code == 0
    assert (await reconcile(decided, "--repair", "--reason", "a test")).exit_code == 0


async def test_an_event_that_never_left_the_outbox_is_published_by_a_repair(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        await upstream.send([generated("acme", "cy"), generated("acme", "dee")])
    await work_off_unpublished(small)
    waiting = await reconcile(small)
    assert (waiting.exit_code, waiting.found) == (0, set())  # it waits, and is not missing
    assert await connection.execute("DELETE FROM credits.outbox WHERE event_id = 'acme:3'") == "DELETE 1"
    await publish(small)

    run = await reconcile(small)
    assert (run.exit_code, run.found) == (1, {("event-missing", "acme:3")})
    before = (await small.oracle().observe()).outgoing[CHANGES]

    again = await repaired(small)
    assert (again.exit_code, again.found) == (0, set())
    after = (await small.oracle().observe()).outgoing[CHANGES]
    (published,) = [message for message in after if message.place not in {known.place for known in before}]
    assert published.header("ce_id") == "acme:3"
    assert published.data()["sequence"] == 3


async def test_what_was_published_twice_or_otherwise_is_named(small: Deployment) -> None:
    published = (await small.oracle().observe()).outgoing[CHANGES]
    twice, changed = (next(m for m in published if m.header("ce_id") == name) for name in ("acme:1", "bolt:2"))
    assert changed.value is not None
    producer = AIOKafkaProducer(bootstrap_servers=small.kafka)
    try:
        await producer.start()
        for message, value in ((twice, twice.value), (changed, changed.value.replace(b"charge", b"refund"))):
            topic, partition, _ = message.place
            await producer.send_and_wait(topic, value, key=message.key, partition=partition, headers=message.headers)
    finally:
        await producer.stop()
    run = await reconcile(small)
    assert (run.exit_code, run.found) == (1, {("event-repeated", "acme:1"), ("event-repeated", "bolt:2")})
    of_one = await reconcile(small, "--account", "bolt")
    assert of_one.found == {("event-repeated", "bolt:2")}


async def test_one_id_for_two_accounts_and_letters_that_wait_are_named(small: Deployment) -> None:
    async with small.upstream() as upstream:
        await upstream.send([generated("acme", "cy", "the-same"), generated("bolt", "dee", "the-same")])
        place = await upstream.send_raw("email-bounced", b"not json")
    await work_off(small)
    run = await reconcile(small)
    named = {(f["kind"], f["subject"]) for f in run.findings}
    assert named == {
        ("key-shared", "/campaigns the-same"),
        ("dead-letter-waiting", f"{place[0]}/{place[1]}@{place[2]}"),
    }


async def test_what_retention_has_eaten_cannot_be_told(small: Deployment) -> None:
    (sent,) = [m for m in (await small.oracle().observe()).incoming if m.key == b"acme" and b"ann" in (m.value or b"")]
    topic, partition, offset = sent.place
    await delete_records(small.kafka, {(topic, partition): offset + 1})
    run = await reconcile(small)
    assert (run.exit_code, run.found) == (2, set())
    assert run.summary["could_not_tell"] == [f"{topic}/{partition}: {offset + 1} offsets before {offset + 1} are gone"]


async def test_a_window_looks_only_at_what_was_decided_in_it(small: Deployment, connection: Any) -> None:
    between = datetime.now(UTC)
    async with small.upstream() as upstream:
        await upstream.send([generated("bolt", "cy")])
    await work_off(small)
    await connection.execute("UPDATE credits.accounts SET balance = balance + 1")
    run = await reconcile(small, "--from", between.isoformat())
    assert run.found == {("balance-differs", "bolt")}
    assert run.summary["compared"] == {"messages": 1, "published": 1, "accounts": 1, "decisions": 3, "changes": 3}
    assert (await reconcile(small, "--to", between.isoformat())).found == {
        ("balance-differs", "acme"),
        ("balance-differs", "bolt"),
    }


async def test_the_report_has_everything_and_is_whole(decided: Deployment, connection: Any) -> None:
    await connection.execute("UPDATE credits.accounts SET balance = balance + 1")
    run = await reconcile(decided, "--report", "found.json")
    report = json.loads((decided.folder / "found.json").read_text())
    assert report == {"findings": run.findings, "summary": run.summary}
    assert {f.name for f in decided.folder.iterdir() if f.suffix == ".part"} == set()


async def test_a_report_that_there_is_no_room_for_is_one_line(decided: Deployment) -> None:
    (decided.folder / ".found.json.part").symlink_to("/dev/full")
    run = await reconcile(decided, "--report", "found.json")
    assert (run.exit_code, run.said) == (1, "credits: --report found.json: No space left on device\n")
    assert {f.name for f in decided.folder.iterdir() if "found.json" in f.name} == set()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--account", "nobody"], "there is no account 'nobody'"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "the range is empty, --to has to be later"),
        (["--from", "yesterday"], "--from: 'yesterday' is no time such as 2026-03-01T12:00:00Z"),
        (["--repair"], "--repair: needs a --reason, which is recorded"),
        (["--report", "nowhere/found.json"], "--report nowhere/found.json: No such file or directory"),
    ],
)
async def test_wrong_use_is_one_line(decided: Deployment, arguments: list[str], told: str) -> None:
    run = await reconcile(decided, *arguments)
    assert (run.exit_code, run.findings) == (2, [])
    assert told in run.said.splitlines()[-1]


REPORTING = ("reconcile", "--output", "json", "--report", "found.json")


@pytest.fixture
async def lock(decided: Deployment, connection: Any) -> AsyncIterator[Any]:
    """Holds a lock, until it is closed, that a reconciliation waits for; which has something to find then."""
    await connection.execute("UPDATE credits.accounts SET balance = balance + 1")
    locking = await asyncpg.connect(decided.database_url)
    await locking.execute("BEGIN; LOCK TABLE credits.decisions IN ACCESS EXCLUSIVE MODE")
    yield locking
    await locking.close()


def assert_left_no_trace(deployment: Deployment) -> None:
    assert [f.name for f in deployment.folder.iterdir() if "found.json" in f.name] == []


async def test_broken_off_by_ctrl_c_it_leaves_no_trace(decided: Deployment, connection: Any, lock: Any) -> None:
    process = Forked(
        *REPORTING,
        environment=environment(**settings_of(decided)),
        folder=decided.folder,
        stdout=decided.folder / "stdout",
        stderr=decided.folder / "stderr",
    )
    await eventually(lambda: waiting_for_a_lock(connection), what="it has begun")
    process.send_signal(signal.SIGINT)
    await lock.close()
    assert await process.wait() == 130
    assert process.stderr.read_text() == ""
    assert_left_no_trace(decided)


async def test_with_its_pipe_closed_it_leaves_no_trace(decided: Deployment, connection: Any, lock: Any) -> None:
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        CREDITS,
        *REPORTING,
        env=environment(**settings_of(decided)),
        cwd=decided.folder,
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    await eventually(lambda: waiting_for_a_lock(connection), what="it has begun")
    os.close(reading)
    await lock.close()
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")
    assert_left_no_trace(decided)

"""`credits replay`: what went the way of events is left alone, what never went it is decided, once."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from credit_contracts import PlanChanged, ProspectGenerated, encode
from support.credits import CREDITS, environment
from support.filled import copy_of, filled_deployment
from support.locks import waiting_for_a_lock
from support.observed import INCOMING, OUTGOING, read_topics
from support.replays import WHY, pass_over, replay, settings_of, start_replay
from support.service import Deployment
from support.small import BEGAN, fill, generated, plan
from support.small_bounds import as_faults
from support.topics import admin, delete_records
from support.traffic import event, random_traffic, slices
from support.wait import eventually
from support.worked_off import work_off

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from credit_local_stack import Addresses
    from support.replays import Replayed


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


TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'credits' AND table_type = 'BASE TABLE'"


async def all_rows(connection: Any, *, but: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Everything that is in the database."""
    tables = [name for (name,) in await connection.fetch(TABLES) if name not in but]
    assert {"decisions", "entries", "outbox", "dead_letters", "partition_offsets"} <= set(tables)
    return {
        table: [row for (row,) in await connection.fetch(f"SELECT t::text FROM credits.{table} AS t ORDER BY 1")]
        for table in tables
    }


async def kafka_state(deployment: Deployment) -> tuple[Any, ...]:
    """All messages of the deployment, all groups that the broker knows, and what the service's have committed."""
    messages = await read_topics(deployment.kafka, deployment.prefix, (*INCOMING, *OUTGOING))
    async with admin(deployment.kafka) as client:
        groups = {name for name, _ in await client.list_consumer_groups() if deployment.prefix in name}
        offsets = {name: await client.list_consumer_group_offsets(name) for name in groups}
    return messages, groups, offsets


# --- what was decided is left alone


async def test_what_was_decided_has_no_second_effect(decided: Deployment, connection: Any) -> None:
    before = await all_rows(connection, but=("operations",)), await kafka_state(decided)
    run = await replay(decided, *WHY)
    assert run.said == "4 messages of 2 topics, from the beginning to where the service has read\n"
    assert run.exit_code == 0
    assert run.summary.pop("seconds") > 0
    assert run.summary.pop("rate") > 0
    assert run.summary == {
        "dry_run": False,
        "interrupted": False,
        "read": 4,
        "messages": 4,
        "fates": {"duplicate": 4},
        "outcomes": {},
        "dead_letters": {},
        "eaten": 0,
        "topics": {"plan-changed": {"duplicate": 2}, "prospect-generated": {"duplicate": 2}},
    }
    assert before == (await all_rows(connection, but=("operations",)), await kafka_state(decided))


async def test_everything_again_while_the_service_works(deployment: Deployment, connection: Any) -> None:
    await deployment.make_topics()
    service = await deployment.start(batch_records_max="20")
    runs: list[Replayed] = []
    async with deployment.upstream() as upstream:
        for portion in slices(random_traffic(11, events=600), 150):
            await upstream.send(portion)
            # A replay reads to the stored offsets only; the rest is decided while it runs.
            await eventually(lambda: some_read(connection))
            runs.append(await replay(deployment, *WHY))
    await deployment.oracle().check()
    assert await service.terminate() == 0
    assert [run.exit_code for run in runs] == [0] * len(runs)
    assert all("new" not in run.summary["fates"] and not run.summary["outcomes"] for run in runs)
    assert all(run.summary["messages"] for run in runs)

    # The same once more, when all is over: nothing moves any more.
    observed = await deployment.oracle().observe()
    run = await replay(deployment, *WHY)
    assert run.summary["read"] == len(observed.incoming)
    assert await deployment.oracle().observe() == observed


async def some_read(connection: Any) -> bool:
    return bool(await connection.fetchval("SELECT sum(next_offset) > 0 FROM credits.partition_offsets"))


async def test_no_group_is_touched(decided: Deployment) -> None:
    async with admin(decided.kafka) as client:
        before = await client.list_consumer_groups()
    state = await kafka_state(decided)
    assert state[1] == {decided.group, f"{decided.group}-relay"}
    assert (await replay(decided, *WHY)).exit_code == 0
    assert (await replay(decided, "--dry-run")).exit_code == 0
    assert await kafka_state(decided) == state
    async with admin(decided.kafka) as client:
        assert {g for g in await client.list_consumer_groups() if decided.prefix in g[0]} <= set(before)


# --- what never was is decided


async def test_a_message_that_was_passed_over_is_decided_once(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        sent = await upstream.send([generated("acme", "cy"), generated("bolt", "dee")])
    await pass_over(small, sent)

    run = await replay(small, *WHY, "--each")
    assert (run.exit_code, run.summary["fates"]) == (0, {"duplicate": 4, "new": 2})
    assert run.summary["outcomes"] == {"charged": 2}
    assert sorted(run.each, key=lambda line: line["account_id"]) == [
        {
            "topic": one.topic,
            "partition": one.partition,
            "offset": one.offset,
            "account_id": one.event.data.account_id,
            "source": one.event.source,
            "id": one.event.id,
            "fate": "new",
        }
        for one in sent
    ]
    # What a replay decided a service publishes.
    service = await (await small.start()).ready()
    observed = await small.oracle().check()
    assert await service.terminate() == 0
    assert [a["balance"] for a in observed.accounts] == [8, 8]

    before = await all_rows(connection, but=("operations",))
    again = await replay(small, *WHY)
    assert (again.summary["fates"], again.summary["outcomes"]) == ({"duplicate": 6}, {})
    await work_off(small)
    assert await all_rows(connection, but=("operations",)) == before


def in_batches_of(records: int) -> str:
    """What a replay executes first, to take so many messages at a time."""
    return as_faults(REPLAY_BATCH_RECORDS_MAX=records)


async def test_it_is_decided_under_the_rules_of_the_settings(small: Deployment, connection: Any) -> None:
    """The bounce of a charge whose month is over, where late refunds are forfeit."""
    from credit_contracts import EmailBounced

    at = BEGAN - timedelta(days=70)
    old = event(PlanChanged(account_id="old", plan_id="p", monthly_credits=10), at)
    charge = event(ProspectGenerated(account_id="old", prospect_id="p"), at + timedelta(minutes=1))
    bounce = event(EmailBounced(account_id="old", prospect_id="p"), BEGAN)
    async with small.upstream() as upstream:
        await upstream.send([old, charge])
        await work_off(small)
        await pass_over(small, await upstream.send([bounce]))
    run = await replay(small, *WHY, late_refund="forfeit")
    assert run.summary["outcomes"]["forfeited"] == 1
    assert await connection.fetchval("SELECT balance FROM credits.accounts WHERE account_id = 'old'") == 10


async def test_the_order_is_that_of_the_merge(deployment: Deployment, connection: Any) -> None:
    """Across topics the earlier goes first: else the upgrade's credits would have gone to other prospects."""
    await deployment.make_topics()
    prospects = [generated("acme", f"p-{number}") for number in range(30)]
    small_plan = PlanChanged(account_id="acme", plan_id="p", monthly_credits=10)
    upgrade = PlanChanged(account_id="acme", plan_id="q", monthly_credits=15)
    async with deployment.upstream() as upstream:
        sent = await upstream.send(prospects)
        sent += await upstream.send([event(small_plan, BEGAN), event(upgrade, prospects[20].time)])
    await pass_over(deployment, sent)
    run = await replay(deployment, *WHY, first=in_batches_of(15))
    assert run.summary["outcomes"] == {"plan-in-force": 2, "charged": 15, "declined": 15}
    charged = await connection.fetch(
        "SELECT prospect_id FROM credits.decisions_by_account WHERE outcome = 'charged' ORDER BY position"
    )
    assert [row[0] for row in charged] == [f"p-{number}" for number in (*range(10), *range(20, 25))]


async def odd_ones(small: Deployment, connection: Any) -> dict[str, int]:
    """Passes over one or two of every kind of message; returns the fates that they have."""
    future = event(ProspectGenerated(account_id="acme", prospect_id="f"), datetime.now(UTC) + timedelta(days=2))
    async with small.upstream() as upstream:
        await upstream.send([future, generated("late", "waits"), generated("acme", "kept", "kept")])
        await upstream.send_raw("email-bounced", b"not json")
        await upstream.send([generated("acme", "other", "kept")])
        await work_off(small)
        passed = await upstream.send(
            [
                generated("acme", "new-1"),
                generated("acme", "twice", "twice"),
                generated("acme", "twice", "twice"),
                generated("acme", "other", "twice"),
                generated("acme", "yet another", "kept"),
                generated("late", "waits as well"),
            ]
        )
        topic, partition, offset = await upstream.send_raw("email-bounced", b"nor this")
    await pass_over(small, passed)
    await connection.execute(
        "UPDATE credits.partition_offsets SET next_offset = $3 WHERE topic = $1 AND partition = $2",
        *(topic, partition, offset + 1),
    )
    # Repeats of what was passed over: the time is part of what is compared no more than it is in the ledger.
    return {"new": 3, "duplicate": 6, "conflict": 3, "unreadable": 1, "parked": 1, "dead-letter": 2}


async def test_a_dry_run_writes_nothing_and_counts_as_the_real_run(small: Deployment, connection: Any) -> None:
    expected = await odd_ones(small, connection)
    before = await all_rows(connection), await kafka_state(small)
    dry = await replay(small, "--dry-run", "--each")
    assert (await all_rows(connection), await kafka_state(small)) == before
    assert (dry.exit_code, dry.summary["dry_run"], dry.summary["outcomes"]) == (0, True, {})
    assert dry.summary["fates"] == expected
    assert Counter(line["fate"] for line in dry.each) == {f: n for f, n in expected.items() if f != "duplicate"}

    real = await replay(small, *WHY, "--each")
    assert real.summary["fates"] == expected
    assert real.summary["topics"] == dry.summary["topics"]
    assert sorted(map(json.dumps, real.each)) == sorted(map(json.dumps, dry.each))
    # What repeats a message that was passed over with it went the same way, and what contradicts is refused now.
    assert real.summary["outcomes"] == {"charged": 2, "duplicate": 1, "parked": 1}
    assert real.summary["dead_letters"] == {"conflict": 2, "bad-envelope": 1}
    await work_off(small)
    await small.oracle().check()

    again = await replay(small, *WHY)
    assert (again.summary["outcomes"], again.summary["dead_letters"]) == ({}, {})
    await small.oracle().check()


async def test_what_is_new_in_one_batch_and_comes_again_in_another_is_counted_once(
    small: Deployment, connection: Any
) -> None:
    async with small.upstream() as upstream:
        sent = await upstream.send([generated("acme", "twice", "twice") for _ in range(4)])
    await pass_over(small, sent)
    before = await all_rows(connection)
    first = in_batches_of(2)
    only = ("--topic", "prospect-generated", "--from", str(sent[0].offset), "--account", "acme")
    dry = await replay(small, *only, "--dry-run", first=first)
    assert await all_rows(connection) == before
    real = await replay(small, *only, *WHY, first=first)
    assert dry.summary["fates"] == real.summary["fates"] == {"new": 1, "duplicate": 3}


async def test_what_was_refused_is_left_to_the_desk(small: Deployment, connection: Any) -> None:
    future = event(ProspectGenerated(account_id="acme", prospect_id="f"), datetime.now(UTC) + timedelta(days=2))
    async with small.upstream() as upstream:
        await upstream.send([future])
        await upstream.send_raw("email-bounced", b"not json")
    await work_off(small)
    before = await all_rows(connection, but=("operations",))
    run = await replay(small, *WHY)
    assert run.summary["fates"] == {"dead-letter": 2, "duplicate": 4}
    assert await all_rows(connection, but=("operations",)) == before


# --- how far it reads, and what of it


async def test_never_past_what_the_service_has_read(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        await upstream.send([generated("acme", "cy"), generated("bolt", "dee"), plan("new")])
    before = await all_rows(connection, but=("operations",))
    run = await replay(small, *WHY)
    assert run.summary["fates"] == {"duplicate": 4}
    assert (await replay(small, *WHY, "--to", "1000")).summary["read"] == 4
    late = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (await replay(small, *WHY, "--to", late)).summary["read"] == 4
    assert await all_rows(connection, but=("operations",)) == before
    await work_off(small)
    await small.oracle().check()


async def test_nothing_is_read_where_the_service_has_read_nothing(deployment: Deployment) -> None:
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send([plan("acme")])
    run = await replay(deployment, *WHY)
    assert (run.exit_code, run.summary["read"], run.summary["topics"]) == (0, 0, {})
    assert run.said == "0 messages of 0 topics, from the beginning to where the service has read\n"


async def test_topics_go_by_their_names_with_and_without_the_prefix(decided: Deployment) -> None:
    run = await replay(decided, *WHY, "--topic", "plan-changed")
    assert run.summary["topics"] == {"plan-changed": {"duplicate": 2}}
    both = ("--topic", decided.topic("plan-changed"), "--topic", "prospect-generated", "--topic", "plan-changed")
    assert (await replay(decided, *WHY, *both)).summary["read"] == 4


async def test_a_range_of_time(small: Deployment) -> None:
    between = datetime.now(UTC)
    async with small.upstream() as upstream:
        await upstream.send([generated("acme", "cy")])
    await work_off(small)
    after = await replay(small, *WHY, "--from", between.isoformat())
    assert (after.summary["read"], after.said[:10]) == (1, "1 messages")
    assert (await replay(small, *WHY, "--to", between.isoformat())).summary["read"] == 4
    assert f"from {between:%Y-%m-%d %H:%M:%S} UTC to" in after.said


async def test_a_time_without_a_zone_is_utc_and_said(decided: Deployment) -> None:
    run = await replay(decided, *WHY, "--from", "2026-03-01T12:00:00")
    assert run.said.startswith("--from: 2026-03-01T12:00:00 has no zone and is taken as UTC\n")
    assert "from 2026-03-01 12:00:00 UTC to where" in run.said


async def test_an_account_alone(deployment: Deployment, connection: Any) -> None:
    """Also what lies in another partition, or under another key, than the account's; of what cannot be read, what has
    its key.
    """
    await fill(deployment, partitions=3)
    async with deployment.upstream() as upstream:
        sent = [one for n in range(3) for one in await upstream.send([generated("acme", f"p-{n}")], partition=n)]
        sent += await upstream.send([generated("bolt", "dee")])
        places = [await upstream.send_raw("email-bounced", b"{", key=key) for key in (b"acme", b"bolt", None)]
        for account_id, key in (("acme", b"bolt"), ("bolt", b"acme")):
            odd = encode(generated(account_id, "odd"))
            places.append(await upstream.send_raw("prospect-generated", odd.value, odd.headers, key))
    await pass_over(deployment, sent)
    await connection.executemany(
        """INSERT INTO credits.partition_offsets AS o (topic, partition, next_offset) VALUES ($1, $2, $3)
        ON CONFLICT (topic, partition) DO UPDATE SET next_offset = greatest(o.next_offset, excluded.next_offset)""",
        [(topic, partition, offset + 1) for topic, partition, offset in places],
    )
    run = await replay(deployment, *WHY, "--account", "acme")
    assert run.summary["fates"] == {"duplicate": 2, "new": 4, "unreadable": 1}
    assert (run.summary["read"], run.summary["messages"]) == (13, 7)
    assert (run.summary["outcomes"], run.summary["dead_letters"]) == ({"charged": 4}, {"bad-envelope": 1})
    assert run.said.endswith(", for those of acme\n")
    balances = await connection.fetch("SELECT account_id, balance FROM credits.accounts ORDER BY 1")
    assert [tuple(row) for row in balances] == [("acme", 5), ("bolt", 9)]


async def test_an_account_of_which_the_ledger_knows_nothing(small: Deployment) -> None:
    run = await replay(small, *WHY, "--account", "nobody")
    assert (run.exit_code, run.summary) == (2, {})
    assert run.said.endswith("credits: there is no account 'nobody', and no message of it in this range\n")
    async with small.upstream() as upstream:
        await pass_over(small, await upstream.send([plan("nobody")]))
    assert (await replay(small, *WHY, "--account", "nobody")).summary["outcomes"] == {"plan-in-force": 1}
    # It has messages, but not in this range.
    known = await replay(small, *WHY, "--account", "nobody", "--topic", "prospect-generated")
    assert (known.exit_code, known.summary["messages"]) == (0, 0)


async def test_what_retention_removed_is_told(small: Deployment) -> None:
    """It is amiss only where it was asked for."""
    (message,) = [
        m
        for m in (await small.oracle().observe()).incoming
        if m.key == b"acme" and m.place[0] == small.topic("plan-changed")
    ]
    topic, partition, offset = message.place
    await delete_records(small.kafka, {(topic, partition): offset + 1})
    told = f"plan-changed/{partition}: {offset + 1} before {offset + 1} are gone from Kafka"
    for start, exit_code in ((None, 0), ("0", 1), ("1", 0)):
        run = await replay(small, *WHY, *(("--from", start) if start else ()))
        assert run.exit_code == exit_code, start
        assert (told in run.said) == (start != "1")


# --- the record of it


async def test_it_is_recorded_with_who_why_what_and_the_result(decided: Deployment, connection: Any) -> None:
    run = await replay(decided, *WHY, "--topic", "plan-changed", "--from", "0", "--rate", "50")
    (kept,) = await connection.fetch("SELECT * FROM credits.operations")
    assert (kept["kind"], kept["operator"], kept["reason"], kept["ended_as"]) == ("replay", "lee", "a test", "done")
    assert json.loads(kept["arguments"]) == {
        "topics": ["plan-changed"],
        "from": "0",
        "to": None,
        "account": None,
        "rate": 50,
    }
    assert json.loads(kept["result"]) == {
        name: run.summary[name] for name in ("read", "messages", "fates", "outcomes", "dead_letters", "eaten")
    }


async def test_one_that_is_killed_has_a_beginning_and_no_end(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        await pass_over(small, await upstream.send([generated("acme", "cy")]))
    process = start_replay(small, kill_at="inside-transaction:1")
    assert await process.wait() == -signal.SIGKILL
    assert await connection.fetchval("SELECT count(*) FROM credits.operations WHERE ended_at IS NULL") == 1
    assert (await replay(small, *WHY)).summary["outcomes"] == {"charged": 1}


# --- how it ends


LOCK = "LOCK TABLE credits.accounts IN EXCLUSIVE MODE"


async def test_ctrl_c_ends_it_after_the_batch_in_hand(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        sent = await upstream.send([generated("acme", f"p-{n}") for n in range(5)])
    await pass_over(small, sent)
    locking = await asyncpg.connect(small.database_url)
    await locking.execute(f"BEGIN; {LOCK}")
    process = start_replay(small, "--rate", "1", "--topic", "prospect-generated")
    await eventually(lambda: waiting_for_a_lock(connection), what="it decides something")
    process.send_signal(signal.SIGINT)
    await locking.close()
    assert await process.wait() == 130
    assert process.stderr.read_text().endswith("Interrupted; it may safely be run again.\n")
    summary = json.loads(process.stdout.read_text())
    assert (summary["interrupted"], summary["outcomes"]) == (True, {"charged": 1})
    assert await connection.fetchval("SELECT ended_as FROM credits.operations") == "interrupted"
    assert (await replay(small, *WHY)).summary["outcomes"] == {"charged": 4}


async def test_ctrl_c_while_it_waits_for_its_pace(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        await pass_over(small, await upstream.send([generated("acme", f"p-{n}") for n in range(60)]))
    process = start_replay(small, "--rate", "1")
    begun = "SELECT count(*) FROM credits.operations"
    await eventually(lambda: connection.fetchval(begun), what="it has begun")
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert "Traceback" not in process.stderr.read_text()


async def test_a_pipe_that_is_closed_ends_it_without_a_word(small: Deployment, connection: Any) -> None:
    async with small.upstream() as upstream:
        await pass_over(small, await upstream.send([generated("acme", f"p-{n}") for n in range(3)]))
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        CREDITS,
        *("replay", "--each", *WHY),
        env=environment(**settings_of(small)),
        cwd=small.folder,
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    _, err = await process.communicate()
    assert process.returncode in (1, 141)
    assert err.decode().count("\n") == 1
    assert await connection.fetchval("SELECT ended_as FROM credits.operations") == "failed"


async def test_on_a_terminal_it_asks_and_draws_a_bar(decided: Deployment) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        CREDITS,
        *("replay", "--reason", "a test"),
        env=environment(**settings_of(decided)),
        cwd=decided.folder,
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = bytearray()
    asyncio.get_running_loop().add_reader(ours, lambda: drawn.extend(_read(ours)))
    await eventually(lambda: b"Replay this? [y/N]:" in drawn)
    os.write(ours, b"y\n")
    out, _ = await process.communicate()
    asyncio.get_running_loop().remove_reader(ours)
    os.close(ours)
    assert process.returncode == 0
    assert b"Messages replayed" in drawn
    assert "│ all                │        4 │         4 │" in out.decode()
    assert "4 messages read in " in out.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is gone
        return b""


# --- wrong use


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--topic", "clicks"], "clicks is no incoming topic: one of prospect-generated, prospect-exported,"),
        (["--topic", "balance-changed"], "balance-changed is no incoming topic"),
        (["--topic", "credit-service-dead-letters"], "credit-service-dead-letters is no incoming topic"),
        (["--topic", "other-plan-changed"], "other-plan-changed is no incoming topic"),
        (["--from", "2026-03-02T00:00:00Z", "--to", "2026-03-01T00:00:00Z"], "the range is empty, --to has to be"),
        (["--from", "5", "--to", "5"], "--from 5 --to 5: the range is empty"),
        (["--from", "6", "--to", "5"], "the range is empty"),
        (["--from", "yesterday"], "--from: 'yesterday' is no time such as 2026-03-01T12:00:00Z"),
        (["--to", "-5"], "--to: '-5' is no time"),
        (["--rate", "0"], "--rate"),
        (["--reason", ""], "--reason: between 1 and 1000 printable characters"),
        (["--reason", "x" * 1001], "--reason: between 1 and 1000 printable characters"),
        (["--operator", "a\nb"], "--operator: between 1 and 200 printable characters"),
        (["--rate", "many"], "--rate"),
    ],
)
async def test_wrong_use_is_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    """Before anything is connected to."""
    nowhere = Deployment("postgresql://127.0.0.1:1/x", "127.0.0.1:1", "t-", tmp_path)
    run = await replay(nowhere, *WHY, *arguments)
    assert (run.exit_code, run.summary, run.said.count("\n")) == (2, {}, 1)
    assert told in run.said


async def test_without_a_reason_or_somebody_to_ask_nothing_is_done(decided: Deployment, connection: Any) -> None:
    no_reason = await replay(decided, "--yes")
    assert (no_reason.exit_code, no_reason.said.count("\n")) == (2, 1)
    assert "--reason: needed, and kept; only a --dry-run goes without" in no_reason.said
    nobody = await replay(decided, "--reason", "a test")
    assert (nobody.exit_code, nobody.said.splitlines()[-1]) == (
        2,
        "credits: no terminal to ask on: add --yes",
    )
    assert await connection.fetchval("SELECT count(*) FROM credits.operations") == 0


async def test_what_is_not_there_is_one_line(deployment: Deployment) -> None:
    missing = await replay(deployment, *WHY)
    assert (missing.exit_code, missing.said.count("\n")) == (1, 1)
    assert f"topics are missing: {deployment.topic('credits-purchased')}, " in missing.said
    away = await replay(deployment, *WHY, kafka_bootstrap_servers="127.0.0.1:1")
    assert (away.exit_code, away.said.count("\n")) == (1, 1)
    assert "credits: Kafka does not answer: " in away.said
    away = await replay(deployment, *WHY, database_url="postgresql://x:hunter2@127.0.0.1:1/x")
    assert (away.exit_code, away.said.count("\n")) == (1, 1)
    assert "credits: the database does not answer: " in away.said
    assert "hunter2" not in away.said

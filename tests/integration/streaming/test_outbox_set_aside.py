"""Rows that Kafka refuses for good are set aside, for an operator to retry or drop; no other row waits for them."""

from __future__ import annotations

import asyncio
import json
import re
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_service import bounds
from credit_service.postgres.ledger.outbox import PostgresOutboxSession
from credit_service.postgres.session import connect
from credit_service.postgres.statements import sql
from support.credits import run_credits
from support.observed import CHANGES, DEAD_LETTERS, DECLINES, read_topics
from support.small_bounds import small_bounds
from support.topics import set_topic
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.observed import Message
    from support.service import Deployment

BEGAN = datetime.now(UTC) - timedelta(seconds=5)
LIMIT = 4_000
LARGE, SMALL = b"x" * (2 * LIMIT), b"{}"


class Rows:
    """Puts rows into the outbox by hand, and looks at what became of them."""

    def __init__(self, deployment: Deployment, connection: Any) -> None:
        self.deployment = deployment
        self.connection = connection

    async def put(self, *rows: tuple[str, str, bytes]) -> None:
        """Topic, event id, payload; the key is the account in the id."""
        await self.connection.executemany(
            "INSERT INTO credits.outbox (topic, key, event_id, event_time, payload) VALUES ($1, $2, $3, $4, $5)",
            [(topic, name.partition(":")[0].encode(), name, BEGAN, payload) for topic, name, payload in rows],
        )

    async def set_aside(self) -> dict[str, str | None]:
        """The rows beside the outbox by their events, with the cause."""
        rows = await self.connection.fetch("SELECT event_id, cause FROM credits.outbox_set_aside ORDER BY outbox_id")
        return {row["event_id"]: row["cause"] for row in rows}

    async def waiting(self) -> list[str]:
        rows = await self.connection.fetch("SELECT event_id FROM credits.outbox ORDER BY outbox_id")
        return [row["event_id"] for row in rows]

    async def published(self, topic: str = CHANGES) -> list[str | None]:
        """The events of a topic as a read_committed consumer sees them, each once, and each account's in order."""
        messages: list[Message] = (await read_topics(self.deployment.kafka, self.deployment.prefix, (topic,)))[topic]
        return [message.header("ce_id") for message in messages]


@pytest.fixture
async def rows(deployment: Deployment) -> AsyncIterator[Rows]:
    """A deployment whose topic of changes takes next to nothing."""
    await deployment.make_topics()
    await set_topic(deployment.kafka, deployment.topic(CHANGES), {"max.message.bytes": str(LIMIT)})
    connection = await asyncpg.connect(deployment.database_url)
    yield Rows(deployment, connection)
    await connection.close()


def mixed(count: int, refused: set[int]) -> list[tuple[str, str, bytes]]:
    """Two events of each account, of which some first ones are too large."""
    return [
        (CHANGES, f"a{number}:{sequence}", LARGE if number in refused and sequence == 1 else SMALL)
        for sequence in (1, 2)
        for number in range(count)
    ]


async def test_what_kafka_refuses_is_set_aside_and_the_rest_goes_out(rows: Rows, deployment: Deployment) -> None:
    await rows.put(*mixed(50, {7, 33}), (DECLINES, "a7:d:9", SMALL))
    service = await (await deployment.start()).ready()
    await eventually(lambda: is_set_aside(rows, 5), within_seconds=30)
    assert await rows.set_aside() == {
        "a7:1": "MessageSizeTooLargeError",
        "a33:1": "MessageSizeTooLargeError",
        "a7:2": None,
        "a33:2": None,
        "a7:d:9": None,
    }
    published = await rows.published()
    assert sorted(map(str, published)) == sorted(
        name for _, name, _ in mixed(50, set()) if name[:-2] not in ("a7", "a33")
    )
    # What comes later of the account waits as well, and that of others does not.
    await rows.put((CHANGES, "a7:3", SMALL), (CHANGES, "a8:3", SMALL))
    await eventually(lambda: is_set_aside(rows, 6))
    assert "a8:3" in await rows.published()
    assert await service.terminate() == 0


async def test_what_is_set_aside_is_said_and_does_not_make_members_unready(rows: Rows, deployment: Deployment) -> None:
    await rows.put(*mixed(5, {0}))
    service = await (await deployment.start()).ready()
    await eventually(lambda: is_set_aside(rows, 2))
    # Both are older than an outbox may wait.
    await rows.connection.execute("UPDATE credits.outbox_set_aside SET event_time = now() - interval '1 hour'")

    async def is_said() -> bool:
        told = (await service.degraded()).get("outbox", "")
        return (
            re.search(r"row \d+ of balance-changed \(MessageSizeTooLargeError\), and 1 wait behind", told) is not None
        )

    await eventually(is_said)
    assert await service.problems() == {}
    code, told = await command(deployment, "doctor", "--output", "json")
    (check,) = [one for one in json.loads(told[0])["checks"] if one["name"] == "set-aside"]
    assert (code, check["state"]) == (1, "wrong")
    assert "balance-changed for" in check["told"]
    assert "with 1 behind" in check["told"]
    assert await service.terminate() == 0


async def test_a_retry_publishes_the_row_and_what_waits_behind_it_in_order(rows: Rows, deployment: Deployment) -> None:
    await rows.put(*mixed(5, {0}), (CHANGES, "a0:3", SMALL))
    service = await (await deployment.start()).ready()
    await eventually(lambda: is_set_aside(rows, 3))
    number = await number_of(rows, "a0:1")
    # It is still too large: once others of its topic were taken, it is set aside again, and what waits with it.
    assert await command(deployment, "outbox", "retry", number, "--reason", "try") == (0, [f"#{number}: retried"])
    await rows.put((CHANGES, "b:1", SMALL))
    await eventually(lambda: is_set_aside(rows, 3))
    await set_topic(deployment.kafka, deployment.topic(CHANGES), {})
    dry = await command(deployment, "outbox", "retry", number, "--reason", "mended", "--dry-run")
    assert dry == (0, [])
    assert await command(deployment, "outbox", "retry", number, "--reason", "mended") == (0, [f"#{number}: retried"])
    await eventually(lambda: is_set_aside(rows, 0))
    assert [name for name in await rows.published() if str(name).startswith("a0:")] == ["a0:1", "a0:2", "a0:3"]
    assert len(await rows.published()) == 12
    assert await service.terminate() == 0
    assert await command(deployment, "outbox", "retry", number, "--reason", "mended") == (1, [])
    told = await rows.connection.fetch("SELECT kind, reason, ended_as FROM credits.operations ORDER BY operation_id")
    assert [tuple(row) for row in told] == [("outbox-retry", "try", "done"), ("outbox-retry", "mended", "done")]


async def test_a_drop_is_kept_and_reconciled_as_such_and_never_repaired(rows: Rows, deployment: Deployment) -> None:
    service = await (await deployment.start()).ready()
    async with deployment.upstream() as upstream:
        plan = PlanChanged(account_id="acme", plan_id="p", monthly_credits=9)
        await upstream.send([event(plan, BEGAN), event(ProspectGenerated(account_id="b", prospect_id="p"), BEGAN)])
        await deployment.oracle().drained()
        # Whatever is sent of the next change is too large, and others are not.
        await set_topic(deployment.kafka, deployment.topic(CHANGES), {"max.message.bytes": "800"})
        await rows.connection.execute(TOO_LARGE)
        charged = [ProspectGenerated(account_id="acme", prospect_id=f"p{n}") for n in range(3)]
        await upstream.send([event(data, BEGAN + timedelta(seconds=1)) for data in charged])
        await rows.put((CHANGES, "other:1", SMALL))
        await eventually(lambda: is_set_aside(rows, 3))
    assert list(await rows.set_aside()) == ["acme:2", "acme:3", "acme:4"]
    number = await number_of(rows, "acme:2")
    words = ("--reason", "told by hand", "--operator", "ann")
    assert (await command(deployment, "outbox", "drop", number, *words))[0] == 2, "nobody was asked"
    assert await command(deployment, "outbox", "drop", number, *words, "--yes") == (0, [f"#{number}: dropped"])
    await eventually(lambda: is_set_aside(rows, 0))
    assert [name for name in await rows.published() if str(name).startswith("acme")] == ["acme:1", "acme:3", "acme:4"]
    kept = await rows.connection.fetchrow("SELECT * FROM credits.outbox_dropped")
    assert (kept["event_id"], kept["key"], kept["topic"]) == ("acme:2", b"acme", CHANGES)
    assert (kept["operator"], kept["reason"], kept["cause"]) == ("ann", "told by hand", "MessageSizeTooLargeError")

    await rows.connection.execute("DROP TRIGGER too_large ON credits.outbox")
    for more in ((), ("--repair", "--reason", "see", "--yes")):
        code, told = await command(deployment, "reconcile", "--account", "acme", *more)
        assert code == 1
        assert [line for line in told if line.startswith("event-")] == [line for line in told if "acme:2" in line]
        assert "event-dropped: acme:2: balance-changed, ann dropped it at" in "".join(told)
    assert await rows.waiting() == []
    assert "acme:2" not in await rows.published()
    assert await service.terminate() == 0


TOO_LARGE = """
CREATE FUNCTION public.too_large() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_id = 'acme:2' THEN
        NEW.payload := NEW.payload || convert_to(repeat(' ', 1000), 'UTF8');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER too_large BEFORE INSERT ON credits.outbox FOR EACH ROW EXECUTE FUNCTION public.too_large();
"""


async def test_where_a_topic_takes_nothing_it_is_said_and_other_topics_go_on(
    rows: Rows, deployment: Deployment
) -> None:
    # Room for the mark with which Kafka ends a transaction, and for no event.
    await set_topic(deployment.kafka, deployment.topic(CHANGES), {"max.message.bytes": "100"})
    await rows.put(*mixed(30, set()), *((DECLINES, f"b{n}:d:1", SMALL) for n in range(30)))
    service = await deployment.start()

    async def is_said() -> bool:
        return "topics accept none of their waiting rows: balance-changed (Message" in (await service.problems()).get(
            "relay", ""
        )

    async def others_are_published() -> bool:
        return len(await rows.published(DECLINES)) == 30

    await eventually(is_said)
    await eventually(others_are_published)
    assert (await rows.set_aside(), len(await rows.waiting())) == ({}, 60)
    await rows.put((DECLINES, "c:d:1", SMALL))
    await eventually(lambda: published_one(rows, DECLINES, "c:d:1"))

    await set_topic(deployment.kafka, deployment.topic(CHANGES), {})
    await eventually(lambda: is_set_aside(rows, 0))
    await service.ready()
    published = await rows.published()
    assert sorted(map(str, published)) == sorted(name for _, name, _ in mixed(30, set()))
    assert_in_order(published)
    assert await service.terminate() == 0


@pytest.mark.parametrize("kill_at", ["before-kafka-commit:2", "after-kafka-commit:2", "before-cleanup:3"])
async def test_a_crash_while_it_is_halved_publishes_nothing_twice(
    rows: Rows, deployment: Deployment, kill_at: str
) -> None:
    await rows.put(*mixed(30, {11}))
    killed = await deployment.start(kill_at=kill_at)
    assert await killed.ended() < 0
    await deployment.forget_members()
    service = await (await deployment.start()).ready()
    await eventually(lambda: is_set_aside(rows, 2))
    published = await rows.published()
    assert sorted(map(str, published)) == sorted(name for _, name, _ in mixed(30, set()) if name[:-2] != "a11")
    assert_in_order(published)
    assert await service.terminate() == 0


async def test_the_next_leader_goes_on_with_what_is_set_aside(rows: Rows, deployment: Deployment) -> None:
    await rows.put(*mixed(5, {0}))
    first = await (await deployment.start()).ready()
    await eventually(lambda: is_set_aside(rows, 2))
    second = await (await deployment.start()).ready()
    await deployment.killed(first)
    await rows.put((CHANGES, "a0:3", SMALL), (CHANGES, "a1:3", SMALL))
    await eventually(lambda: is_set_aside(rows, 3), within_seconds=40)
    assert "a1:3" in await rows.published()
    await set_topic(deployment.kafka, deployment.topic(CHANGES), {})
    await command(deployment, "outbox", "retry", await number_of(rows, "a0:1"), "--reason", "mended")
    await eventually(lambda: is_set_aside(rows, 0))
    published = await rows.published()
    assert len(published) == len(set(published)) == 12
    assert_in_order(published)
    assert await second.terminate() == 0


async def test_a_row_that_the_client_cannot_build_is_set_aside(rows: Rows, deployment: Deployment) -> None:
    await rows.put(*mixed(5, set()))
    faults = (
        "from credit_service.kafka.publish import claim_transaction as module; made = module.outgoing_record\n"
        "def outgoing_record(waiting, partitions):\n"
        "    if waiting.event_id == 'a3:1': raise UnicodeError('it says what it likes')\n"
        "    return made(waiting, partitions)\n"
        "module.outgoing_record = outgoing_record\n"
    )
    service = await (await deployment.start(faults=faults)).ready()
    await eventually(lambda: is_set_aside(rows, 2))
    assert await rows.set_aside() == {"a3:1": "UnicodeError", "a3:2": None}
    assert len(await rows.published()) == 8
    assert await service.terminate() == 0


async def test_a_dead_letter_that_is_refused_holds_up_nobody_of_its_key(rows: Rows, deployment: Deployment) -> None:
    await set_topic(deployment.kafka, deployment.topic(DEAD_LETTERS), {"max.message.bytes": str(LIMIT)})
    await deployment.start()
    async with deployment.upstream() as upstream:
        await upstream.send_raw("email-bounced", b"x" * 2 * LIMIT, key=b"a1")
        await upstream.send_raw("email-bounced", b"small", key=b"a1")
    await rows.put((CHANGES, "a1:1", SMALL))

    async def is_done() -> bool:
        return await rows.published() == ["a1:1"] and len(await rows.published(DEAD_LETTERS)) == 1

    await eventually(is_done)
    await eventually(lambda: is_set_aside(rows, 1))


# --- claims


async def test_thousands_that_wait_are_gone_past_once(rows: Rows, deployment: Deployment) -> None:
    await rows.put(*((CHANGES, f"a:{n}", SMALL) for n in range(3_000)), (CHANGES, "b:1", SMALL))
    connection = await connect(deployment.database_url)
    session = PostgresOutboxSession(connection)
    await session.set_aside(await connection.fetchval("SELECT min(outbox_id) FROM credits.outbox"), "Refused")
    with small_bounds(CLAIM_ROWS_MAX=1_000):
        claim = await session.claim(1_000, bounds.CLAIM_BYTES_MAX)
    assert claim is not None
    assert [row.key for row in claim.rows] == [b"b"]
    assert await rows.waiting() == ["b:1"]
    assert await connection.fetchval("SELECT count(*) FROM credits.outbox_set_aside WHERE cause IS NULL") == 2_999
    await connection.close()


async def test_a_claim_counts_keys_headers_values_and_traces(rows: Rows, deployment: Deployment) -> None:
    """Each of four rows has its bytes somewhere else: beyond the bound with one of them, each is a claim of its own."""
    letter = (
        'INSERT INTO credits.dead_letters (topic, partition, "offset", digest, reason, detail, key, value, headers, '
        "timestamp_ms, created_at) VALUES ('t', 0, $1, decode(md5('d'), 'hex'), 'r', 'd', $2, $3, $4, 0, now()) "
        "RETURNING dead_letter_id"
    )
    outbox = "INSERT INTO credits.outbox (topic, key, dead_letter_id) VALUES ('t', $1, $2)"
    headers = json.dumps([["n", "x" * 200]])
    for offset, key, value, kept in ((1, b"k" * 200, b"", "[]"), (2, b"", b"v" * 200, "[]"), (3, b"", b"", headers)):
        number = await rows.connection.fetchval(letter, offset, key, value, kept)
        await rows.connection.execute(outbox, key, number)
    await rows.put((CHANGES, "a:1", SMALL))
    await rows.connection.execute("UPDATE credits.outbox SET trace = repeat('t', 55) WHERE event_id IS NOT NULL")
    connection = await connect(deployment.database_url)
    session = PostgresOutboxSession(connection)

    async def claimed(bytes_max: int) -> int:
        claim = await session.claim(10, bytes_max)
        assert claim is not None
        await session.not_published(claim)
        assert claim.is_cut == (len(claim.rows) < await connection.fetchval("SELECT count(*) FROM credits.outbox"))
        return len(claim.rows)

    assert [await claimed(bytes_max) for bytes_max in (200, 400, 600, 10_000)] == [1, 2, 3, 4]
    await rows.put((CHANGES, "b:1", SMALL))
    await connection.execute("DELETE FROM credits.outbox WHERE dead_letter_id IS NOT NULL")
    assert [await claimed(bytes_max) for bytes_max in (58, 59)] == [1, 2], "payload, key and trace are 58 bytes"
    await connection.close()


async def test_letters_with_large_headers_are_no_large_claim(rows: Rows, deployment: Deployment) -> None:
    await rows.connection.execute(
        """WITH made AS (
            INSERT INTO credits.dead_letters (topic, partition, "offset", digest, reason, detail, headers, timestamp_ms,
                created_at)
            SELECT 't', 0, n, decode(md5('d'), 'hex'), 'r', 'd',
                ('[' || repeat('["", null], ', 30000) || '["", null]]')::json, 0, now()
            FROM generate_series(1, 500) AS n
            RETURNING dead_letter_id
        )
        INSERT INTO credits.outbox (topic, dead_letter_id) SELECT 't', dead_letter_id FROM made"""
    )
    connection = await connect(deployment.database_url)
    session = PostgresOutboxSession(connection)
    tracemalloc.start()
    claim = await session.claim(bounds.CLAIM_ROWS_MAX, bounds.CLAIM_BYTES_MAX)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert claim is not None
    assert 0 < len(claim.rows) < 500
    assert peak < 32 * 1024 * 1024
    await connection.close()


@pytest.mark.parametrize("statement", ["finish_claim", "drop_claim"])
async def test_a_strangers_claim_is_left_alone(rows: Rows, deployment: Deployment, statement: str) -> None:
    """And is not, if the statement does not name its claim."""
    await rows.put((CHANGES, "a:1", SMALL))
    connection = await connect(deployment.database_url)
    claim = await PostgresOutboxSession(connection).claim(1, 1)
    assert claim is not None
    stranger = "00000000-0000-0000-0000-000000000000"
    await connection.execute(sql(statement), stranger)
    assert str(await connection.fetchval("SELECT claim_id FROM credits.outbox_claim")) == claim.claim_id
    assert await rows.waiting() == ["a:1"]
    anybodys = sql(statement).replace("WHERE claim_id = $1", "WHERE $1::uuid IS NOT NULL")
    await connection.execute(anybodys, stranger)
    assert await connection.fetchval("SELECT count(*) FROM credits.outbox_claim") == 0
    await connection.close()


async def command(deployment: Deployment, *words: str) -> tuple[int, list[str]]:
    """The exit code of a command and the lines of its stdout."""
    settings = {
        "database_url": deployment.database_url,
        "kafka_bootstrap_servers": deployment.kafka,
        "kafka_group_id": deployment.group,
        "topic_prefix": deployment.prefix,
    }
    done = await asyncio.to_thread(run_credits, *words, folder=deployment.folder, **settings)
    return done.returncode, done.stdout.splitlines()


async def number_of(rows: Rows, event_id: str) -> str:
    statement = "SELECT outbox_id FROM credits.outbox_set_aside WHERE event_id = $1"
    return str(await rows.connection.fetchval(statement, event_id))


async def published_one(rows: Rows, topic: str, event_id: str) -> bool:
    return event_id in await rows.published(topic)


def assert_in_order(published: list[str | None]) -> None:
    """Each account's events lie in the order of their sequences; partitions are read one after the other."""
    last: dict[str, int] = {}
    for name in published:
        account, _, sequence = str(name).rpartition(":")
        assert last.get(account, 0) < int(sequence), f"{name} is out of order, or there twice"
        last[account] = int(sequence)


async def is_set_aside(rows: Rows, count: int) -> bool:
    return len(await rows.set_aside()) == count and not await rows.waiting()

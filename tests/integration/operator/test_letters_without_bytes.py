"""Dead letters beyond the bytes that a topic may bring in a day: kept without them, and retried from Kafka."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest

from credit_contracts import PlanChanged, ProspectGenerated, encode
from credit_contracts.dead_letters import TOPIC_HEADER, VALUE_BYTES_HEADER, VALUE_SHA256_HEADER
from credit_contracts.topics import DEAD_LETTER_TOPIC
from credit_service.application.dead_letters.left_out import LeftOut, NotRead, checked
from credit_service.application.kept_record import content_sha256
from credit_service.application.ports import DeadLetter, ToStore
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from support.clock import Clock
from support.credits import run_credits
from support.plain_http import http_client
from support.replays import settings_of
from support.small_bounds import as_faults
from support.topics import delete_records, make_topic, remove_topics
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.observed import Observed
    from support.service import Deployment, ServiceProcess
    from support.traffic import Sent, Upstream

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(days=1)
TOPIC = "prospect-generated"
BECAUSE = ("--reason", "mended", "--operator", "lee")
LETTERS = "SELECT *, headers::text AS headers, status::text AS status FROM credits.dead_letters ORDER BY dead_letter_id"
BYTES = "SELECT topic, bytes FROM credits.dead_letter_bytes ORDER BY topic"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def clock(deployment: Deployment) -> AsyncIterator[Clock]:
    async with Clock.replacing(deployment.database_url, NOW) as clock:
        yield clock


async def rows(deployment: Deployment, statement: str = LETTERS) -> list[dict[str, Any]]:
    async with connected(deployment.database_url) as connection:
        return [dict(row) for row in await connection.fetch(statement)]


async def credits_said(deployment: Deployment, *arguments: str, **settings: object) -> tuple[int, str]:
    chosen = settings_of(deployment) | settings
    done = await asyncio.to_thread(run_credits, *arguments, folder=deployment.folder, **chosen)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


async def retried(deployment: Deployment, **settings: object) -> tuple[int, list[dict[str, Any]]]:
    exit_code, said = await credits_said(
        deployment, "dead-letters", "retry", "--all", "--yes", *BECAUSE, "--output", "json", **settings
    )
    return exit_code, [json.loads(line) for line in said.splitlines()]


async def send_too_early(upstream: Upstream, count: int) -> list[Sent]:
    """A plan, and events of an hour that has not come."""
    await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=100), NOW)])
    at = NOW + timedelta(hours=1)
    early = [
        event(ProspectGenerated(account_id="a", prospect_id=f"p{n}"), at + timedelta(minutes=n)) for n in range(count)
    ]
    return await upstream.send(early)


async def left_out(deployment: Deployment, count: int) -> tuple[ServiceProcess, list[Sent]]:
    """A service that keeps no bytes of dead letters, and so many of them."""
    await deployment.make_topics()
    service = await deployment.start(dead_letter_bytes_per_day="0")
    async with deployment.upstream() as upstream:
        sent = await send_too_early(upstream, count)
        await deployment.oracle().drained()
    return service, sent


async def test_what_is_beyond_the_budget_is_kept_without_its_bytes(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start(dead_letter_bytes_per_day="2000")
    values = [b"{" + b"x" * 900 + b"%d" % n for n in range(4)]
    async with deployment.upstream() as upstream:
        for value in values:
            await upstream.send_raw("email-bounced", value, [("ce_id", b"1")], b"acme")
        await upstream.send_raw(TOPIC, values[0], [], b"acme")
        observed = await deployment.oracle().check()

    letters = [letter for letter in await rows(deployment) if letter["topic"].endswith("email-bounced")]
    assert [letter["value"] for letter in letters] == [*values[:2], None, None]
    for letter, value in list(zip(letters, values, strict=True))[2:]:
        assert (letter["key"], letter["key_bytes"], letter["headers"]) == (b"acme", None, "[]")
        assert (letter["value_bytes"], letter["value_sha256"]) == (len(value), sha256(value).digest())
        headers = [("ce_id", b"1")]
        assert letter["content_sha256"] == content_sha256(b"acme", value, headers)
    assert all(letter["content_sha256"] is None and letter["value_bytes"] is None for letter in letters[:2])
    # Another topic has a budget of its own.
    (other,) = [letter for letter in await rows(deployment) if letter["topic"].endswith(TOPIC)]
    assert other["value"] == values[0]

    assert published(observed, values) == {0: "whole", 1: "whole", 2: "its hash", 3: "its hash"}
    said = service.logged("dead letters are kept without their bytes")
    assert sum(line["letters"] for line in said) == 2
    async with http_client() as client:
        metrics = (await client.get(f"http://127.0.0.1:{service.health_port}/metrics")).text
    assert 'credits_dead_letters_left_out_total{topic="email-bounced"} 2.0' in metrics
    assert f'credits_dead_letters_left_out_total{{topic="{TOPIC}"}} 0.0' in metrics

    _, told = await credits_said(deployment, "doctor", "--output", "json")
    (check,) = [check for check in json.loads(told)["checks"] if check["name"] == "dead-letters"]
    assert "; 2 kept without their bytes" in check["told"]
    assert "while Kafka still has their bytes" in check["what_to_do"]
    number = letters[3]["dead_letter_id"]
    _, listed = await credits_said(deployment, "dead-letters", "list", "--each")
    assert listed.count("kept without its bytes") == 2
    _, shown = await credits_said(deployment, "dead-letters", "show", str(number))
    assert f"Value               not kept: {len(values[3])} bytes, SHA-256 {sha256(values[3]).hexdigest()}" in shown
    assert "Bytes               not kept: too large, or too many that day" in shown
    _, whole = await credits_said(deployment, "dead-letters", "show", str(letters[0]["dead_letter_id"]))
    assert "not kept" not in whole


async def test_what_is_too_large_to_be_held_is_kept_without_its_bytes_and_read_again(
    deployment: Deployment, clock: Clock
) -> None:
    """An event with large headers of somebody else, an hour ahead; and what is no event."""
    await deployment.make_topics()
    service = await deployment.start(faults=as_faults(RECORD_BYTES_MAX=5_000))
    early = encode(event(ProspectGenerated(account_id="a", prospect_id="p"), NOW + timedelta(hours=1)))
    async with deployment.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=100), NOW)])
        await upstream.send_raw(TOPIC, early.value, [*early.headers, ("more", bytes(6_000))], early.key)
        await upstream.send_raw("email-bounced", b"{" * 9_000, [], b"k" * 2_000)
        await deployment.oracle().check()
    letters = {letter["reason"]: letter for letter in await rows(deployment)}
    of_event, of_junk = letters.pop("from-the-future"), letters.popitem()[1]
    assert (of_event["key"], of_event["value"], of_event["value_bytes"]) == (early.key, None, len(early.value))
    assert (of_junk["key"], of_junk["key_bytes"], of_junk["value_bytes"]) == (None, 2_000, 9_000)
    assert of_junk["value_sha256"] == sha256(b"{" * 9_000).digest()
    await clock.set(LATER)
    exit_code, became = await retried(deployment)
    assert exit_code == 1, "what is no event waits on"
    assert {one["dead_letter_id"]: one["outcome"] for one in became} == {
        of_event["dead_letter_id"]: "charged",
        of_junk["dead_letter_id"]: None,
    }
    assert await service.terminate() == 0


def published(observed: Observed, values: list[bytes]) -> dict[int, str]:
    """Of each value whether it went out whole, or by its size and hash."""
    found = {}
    for number, value in enumerate(values):
        named = {VALUE_BYTES_HEADER: b"%d" % len(value), VALUE_SHA256_HEADER: sha256(value).hexdigest().encode()}
        for letter in observed.outgoing[DEAD_LETTER_TOPIC]:
            headers = dict(letter.headers)
            if (headers[TOPIC_HEADER] or b"").endswith(TOPIC.encode()):
                continue
            if letter.value == value:
                found[number] = "whole"
            elif letter.value is None and named.items() <= headers.items():
                found[number] = "its hash"
    return found


async def test_a_letter_without_its_bytes_is_retried_from_kafka(deployment: Deployment, clock: Clock) -> None:
    service, _ = await left_out(deployment, 5)
    assert {letter["value"] for letter in await rows(deployment)} == {None}
    await clock.set(LATER)
    exit_code, became = await retried(deployment)
    assert (exit_code, [one["outcome"] for one in became]) == (0, ["charged"] * 5)
    observed = await deployment.oracle().check()
    assert {letter["status"] for letter in observed.dead_letters} == {"resolved"}
    assert [entry["reason"] for entry in observed.entries] == ["plan_change", *["charge"] * 5]
    assert await retried(deployment) == (0, [])
    assert await service.terminate() == 0


async def test_a_dry_run_reads_kafka_and_keeps_nothing(deployment: Deployment, clock: Clock) -> None:
    await left_out(deployment, 2)
    await clock.set(LATER)
    before = await rows(deployment)
    exit_code, said = await credits_said(deployment, "dead-letters", "retry", "--all", "--dry-run", *BECAUSE)
    assert (exit_code, said.count("charged")) == (0, 2)
    assert await rows(deployment) == before


async def test_what_kafka_does_not_have_any_more_waits_on(deployment: Deployment, clock: Clock) -> None:
    _, sent = await left_out(deployment, 3)
    await clock.set(LATER)
    # All lie in one partition, since they are of one account.
    await delete_records(deployment.kafka, {(sent[0].topic, sent[0].partition): 2})
    exit_code, became = await retried(deployment)
    assert (exit_code, [one["reason"] or one["outcome"] for one in became]) == (1, ["bytes-gone"] * 2 + ["charged"])
    letters = await rows(deployment)
    assert [letter["status"] for letter in letters] == ["waiting", "waiting", "resolved"]
    assert [letter["retry_reason"] for letter in letters] == ["bytes-gone", "bytes-gone", None]
    assert [letter["retries"] for letter in letters] == [1, 1, 0]


async def test_another_message_at_the_place_is_not_taken_for_it(deployment: Deployment, clock: Clock) -> None:
    """The topic was made anew, and has one message less."""
    service, sent = await left_out(deployment, 3)
    assert await service.terminate() == 0
    await clock.set(LATER)
    await remove_topics(deployment.kafka, [deployment.prefix + TOPIC])
    await make_topic(deployment.kafka, deployment.prefix + TOPIC)
    at = NOW - timedelta(hours=2)
    others = [event(ProspectGenerated(account_id="a", prospect_id=f"other{n}"), at) for n in range(2)]
    async with deployment.upstream() as upstream:
        again = await upstream.send(others)
    assert [one.offset for one in again] == [one.offset for one in sent[:2]]
    exit_code, became = await retried(deployment)
    assert (exit_code, [one["reason"] for one in became]) == (1, ["bytes-differ", "bytes-differ", "bytes-gone"])
    assert {letter["status"] for letter in await rows(deployment)} == {"waiting"}
    assert len(await rows(deployment, "SELECT FROM credits.decisions")) == 1
    # Without the topic there is nothing to be had at all.
    await remove_topics(deployment.kafka, [deployment.prefix + TOPIC])
    assert [one["reason"] for one in (await retried(deployment))[1]] == ["bytes-gone"] * 3


async def test_without_kafka_the_letter_waits_on(deployment: Deployment, clock: Clock) -> None:
    await left_out(deployment, 1)
    await clock.set(LATER)
    exit_code, became = await retried(deployment, kafka_bootstrap_servers="127.0.0.1:1")
    assert (exit_code, [one["reason"] for one in became]) == (1, ["bytes-unread"])
    assert [letter["retry_reason"] for letter in await rows(deployment)] == ["bytes-unread"]
    assert (await retried(deployment))[1][0]["outcome"] == "charged"


async def test_what_was_erased_leaves_no_hash(deployment: Deployment, clock: Clock) -> None:
    await left_out(deployment, 2)
    number = (await rows(deployment))[0]["dead_letter_id"]
    exit_code, _ = await credits_said(deployment, "dead-letters", "erase", str(number), "--operator", "lee", "--yes")
    assert exit_code == 0
    erased, other = await rows(deployment)
    names = ("key", "value", "content_sha256", "key_bytes", "value_bytes", "value_sha256")
    assert [erased[name] for name in names] == [None] * 6
    assert other["content_sha256"] is not None
    await clock.set(LATER)
    assert [one["became"] for one in (await retried(deployment))[1]] == ["erased-before", "resolved"]


async def test_explain_says_that_a_letter_may_be_of_it(deployment: Deployment, clock: Clock) -> None:
    del clock
    await left_out(deployment, 2)
    _, said = await credits_said(deployment, "explain", "a", "--prospect", "p0")
    assert "2 dead letters of the account kept without the bytes: only Kafka shows whether of it" in said


# --- what is counted


def letter(number: int, topic: str = TOPIC, *, size: int = 100, key: bytes = b"a") -> DeadLetter:
    """`size` bytes of key, value and headers."""
    value = b"%d" % number
    record = read_record(Place(topic, 0, number), topic, key, value.rjust(size - len(key) - 2), [], 1_000)
    return DeadLetter(record, "not-json", "")


async def keep(ledger: PostgresLedger, *letters: DeadLetter) -> ToStore:
    async with ledger.transaction() as transaction:
        what = ToStore(await transaction.now(), dead_letters=letters)
        await transaction.store(what)
    return what


async def kept(database_url: str) -> list[bool]:
    """Of each letter, in order of its place, whether it has its bytes."""
    async with connected(database_url) as connection:
        found = await connection.fetch(
            'SELECT value IS NOT NULL FROM credits.dead_letters ORDER BY topic, partition, "offset"'
        )
    return [row[0] for row in found]


async def bytes_of(database_url: str) -> dict[str, int]:
    async with connected(database_url) as connection:
        return dict(await connection.fetch(BYTES))


async def test_the_budget_is_held_to_the_byte(database_url: str) -> None:
    async with open_pool(database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=1, letter_bytes_per_day=300)
        first = await keep(ledger, letter(1), letter(2))
        second = await keep(ledger, letter(3), letter(4), letter(5, "email-bounced"))
        third = await keep(ledger, letter(6, size=10))
    assert [dict(what.left_out) for what in (first, second, third)] == [{}, {TOPIC: 1}, {TOPIC: 1}]
    assert await kept(database_url) == [True, True, True, True, False, False]
    assert await bytes_of(database_url) == {"email-bounced": 100, TOPIC: 410}


async def test_a_new_day_has_a_budget_of_its_own(database_url: str) -> None:
    async with Clock.replacing(database_url, NOW) as clock, open_pool(database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=1, letter_bytes_per_day=100)
        await keep(ledger, letter(1), letter(2))
        await clock.set(LATER)
        await keep(ledger, letter(3), letter(4))
    assert await kept(database_url) == [True, False, True, False]


async def test_what_was_kept_before_costs_nothing_again(database_url: str) -> None:
    async with open_pool(database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=1, letter_bytes_per_day=300)
        for _ in range(5):
            again = await keep(ledger, letter(1), letter(2))
        last = await keep(ledger, letter(3))
    assert (again.left_out, last.left_out) == ({}, {})
    assert await bytes_of(database_url) == {TOPIC: 300}


async def test_a_long_key_is_not_kept_either(database_url: str) -> None:
    async with open_pool(database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=1, letter_bytes_per_day=0)
        await keep(ledger, letter(1, key=b"k" * 1_024, size=2_000), letter(2, key=b"k" * 1_025, size=2_000))
    async with connected(database_url) as connection:
        found = await connection.fetch("SELECT key, key_bytes FROM credits.dead_letters ORDER BY dead_letter_id")
    assert [tuple(row) for row in found] == [(b"k" * 1_024, None), (None, 1_025)]


async def test_bytes_that_kafka_never_had_are_always_kept(database_url: str) -> None:
    """What waited for a plan, in vain or not, is encoded anew."""
    async with open_pool(database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=1, letter_bytes_per_day=0)
        what = await keep(ledger, replace(letter(1), is_encoded_anew=True))
    assert (what.left_out, await kept(database_url)) == ({}, [True])


async def test_members_that_keep_letters_of_the_same_topics_wait_in_one_order(database_url: str) -> None:
    rounds, each = 20, 2
    topics = ["email-bounced", "plan-changed", TOPIC]
    async with open_pool(database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=1, letter_bytes_per_day=4_000)

        async def member(number: int) -> None:
            order = topics if number % 2 else topics[::-1]
            for at in range(rounds):
                first = (number * rounds + at) * each
                await keep(ledger, *(letter(first + n, topic) for topic in order for n in range(each)))

        await asyncio.gather(*(member(number) for number in range(4)))
    assert await bytes_of(database_url) == dict.fromkeys(topics, 4 * rounds * each * 100)
    async with connected(database_url) as connection:
        found = await connection.fetch(
            "SELECT topic, count(*), count(value), sum(length(key) + length(value) + length(headers::text))"
            " FROM credits.dead_letters GROUP BY topic ORDER BY topic"
        )
    assert [tuple(row) for row in found] == [(topic, 160, 40, 4_000) for topic in topics]


@pytest.mark.parametrize(
    "change",
    [{"key": b"b"}, {"key": None}, {"value": b"w"}, {"value": None}, {"headers": [("h", None)]}, {"headers": []}],
    ids=["another key", "no key", "another value", "no value", "a header's value", "no header"],
)
def test_the_hash_is_of_key_value_and_headers(change: dict[str, Any]) -> None:
    record = read_record(Place(TOPIC, 0, 1), TOPIC, b"a", b"v", [("h", b"1")], 0)
    known = LeftOut(content_sha256(record.key, record.value, record.headers), 1)
    assert checked(record, known) is record
    other: Record = replace(record, **change)
    assert isinstance(checked(other, known), NotRead)

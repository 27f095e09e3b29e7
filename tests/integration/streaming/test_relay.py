"""The relay publishes waiting rows once, by one leader, wherever it runs and whatever a predecessor left unfinished."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import asyncpg

from credit_contracts.dead_letters import HEADERS_BYTES_HEADER, HEADERS_SHA256_HEADER, PREFIX, TOPIC_HEADER
from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_service.postgres.ledger.outbox import PostgresOutboxSession
from credit_service.postgres.session import connect
from support.credits import run_credits
from support.foreign import kafka_python
from support.foreign.at_rest import flip_a_byte
from support.foreign.batches import RawRecord, batch_of, with_header_name
from support.foreign.wire import append
from support.observed import CHANGES, DEAD_LETTERS
from support.service import Deployment
from support.traffic import Upstream, event
from support.wait import eventually

PARTITIONS = 3
BEGAN = datetime.now(UTC) - timedelta(hours=1)


async def charge(upstream: Upstream, *prospects: str) -> None:
    await upstream.send(
        [
            event(PlanChanged(account_id="a", plan_id="p", monthly_credits=100), BEGAN, "plan"),
            *(event(ProspectGenerated(account_id="a", prospect_id=p), BEGAN + timedelta(minutes=1)) for p in prospects),
        ]
    )


async def test_only_one_leads_and_hears_of_what_the_other_decides(deployment: Deployment) -> None:
    await deployment.make_topics()
    leader = await (await deployment.start()).ready()
    await eventually(lambda: leader.logged("relay leads"))
    other = await (await deployment.start()).ready()
    async with deployment.upstream() as upstream:
        for partition in range(PARTITIONS):
            await upstream.send(
                [
                    event(PlanChanged(account_id=f"a{partition}", plan_id="p", monthly_credits=5), BEGAN),
                    event(ProspectGenerated(account_id=f"a{partition}", prospect_id="p"), BEGAN),
                ],
                partition=partition,
            )
    await deployment.oracle().check()
    assert other.logged("batch")
    assert other.logged("relay leads") == other.logged("published") == []

    assert await leader.terminate() == 0
    async with deployment.upstream() as upstream:
        await charge(upstream, "p")
    await deployment.oracle().check()
    assert len(other.logged("relay leads")) == 1
    assert await other.terminate() == 0


async def test_a_claim_of_dead_letters_alone_that_was_published_is_not_published_again(deployment: Deployment) -> None:
    """Also without the cursor, which a group of another name does not have."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send_raw("email-bounced", b"not json")
    killed = await deployment.start(kill_at="after-kafka-commit:1")
    assert await killed.ended() < 0
    await deployment.forget_members()
    deployment.group += "-2"
    service = await deployment.start()
    observed = await deployment.oracle().check()
    assert len(observed.outgoing[DEAD_LETTERS]) == 1
    assert await service.terminate() == 0


async def test_what_others_wrote_into_the_topic_hides_no_claim_that_was_published(deployment: Deployment) -> None:
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send_raw("email-bounced", b"not json")
    killed = await deployment.start(kill_at="after-kafka-commit:1")
    assert await killed.ended() < 0
    topic = deployment.topic(DEAD_LETTERS)
    folder = await asyncio.to_thread(kafka_python.log_folder, deployment.kafka)
    for number in range(PARTITIONS):
        flip_a_byte(folder, topic, number, await append(deployment.kafka, topic, number, batch_of([RawRecord(b"v")])))
        await append(deployment.kafka, topic, number, with_header_name(b"\xff", b"{}", [], b"k"))
    await deployment.forget_members()
    deployment.group += "-2"
    service = await deployment.start()
    await eventually(lambda: service.logged("claim left over, it was published"), what="found in the topic")
    assert await service.terminate() == 0


async def test_more_than_one_claim_takes_is_published_in_order(deployment: Deployment) -> None:
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await charge(upstream, *(f"p{n}" for n in range(100)))
    killed = await deployment.start(kill_at="before-kafka-commit:1", batch_records_max="10")
    assert await killed.ended() < 0
    await deployment.forget_members()

    # Rows of a claim that are gone by hand are no obstacle.
    connection = await asyncpg.connect(deployment.database_url)
    assert await connection.fetchval("SELECT count(*) FROM credits.outbox_claim") == 1
    await connection.execute("UPDATE credits.outbox_claim SET outbox_ids = '{}'")
    await connection.close()
    service = await deployment.start()
    observed = await deployment.oracle().check()
    assert len(observed.outgoing[CHANGES]) == 101
    assert await service.terminate() == 0


async def test_a_dead_letter_of_any_size_is_published_as_far_as_kafka_takes_it(deployment: Deployment) -> None:
    """Unpacked, or with the headers of its own beside it, a record can be larger than the broker takes."""
    await deployment.make_topics()
    service = await deployment.start()
    async with Upstream(
        deployment.kafka, deployment.prefix, compression_type="gzip", max_request_size=100_000_000
    ) as packing:
        await packing.send_raw("email-bounced", b"large key", key=b"k" * 3_000_000)
        await packing.send_raw("email-bounced", b"many headers", [("", None)] * 300_000)
        await packing.send_raw("email-bounced", b"some headers", [("", b"")] * 10_000)
        await packing.send_raw("email-bounced", b"a million", [("", None)] * 1_000_000)
        await packing.send_raw("email-bounced", b"a large one", [("n", b"h" * 60_000_000)])
        await packing.send_raw("email-bounced", b"a long name", [("n" * 3_000_000, b"")])
        # As if it were ours: whoever takes the first of a name would be fooled.
        await packing.send_raw(
            "email-bounced", b"a forgery", [(TOPIC_HEADER, b"forged"), ("mine", b"1"), (PREFIX, b"")]
        )
        # As many bytes as are published, in the characters that take most where they are kept.
        await packing.send_raw("email-bounced", b"whole", [("\0" * (64 * 1024 - 10), b"")])
    async with deployment.upstream() as upstream:
        await upstream.send_raw("email-bounced", b"v" * 448_400, key=b"k" * 600_000)
        await charge(upstream, "p")
    observed = await deployment.oracle().check()
    letters = {(m.value or b"")[:12]: m for m in observed.outgoing[DEAD_LETTERS]}
    assert {value: (m.key, len(m.headers)) for value, m in letters.items()} == {
        b"large key": (None, 8),
        b"many headers": (b"raw", 8),
        b"some headers": (b"raw", 8),
        b"a million": (b"raw", 8),
        b"": (b"raw", 8),  # "a large one", of which the service holds a hash
        b"a long name": (b"raw", 8),
        b"a forgery": (b"raw", 7),
        b"whole": (b"raw", 7),
        b"v" * 12: (None, 8),
    }
    assert letters[b"a forgery"].headers[0] == ("mine", b"1")
    assert letters[b"a forgery"].header(TOPIC_HEADER) == deployment.topic("email-bounced")
    assert len(observed.outgoing[CHANGES]) == 2
    assert await service.terminate() == 0

    connection = await asyncpg.connect(deployment.database_url)
    for value in (b"some headers", b"a million"):
        kept = await connection.fetchval("SELECT headers::text FROM credits.dead_letters WHERE value = $1", value)
        assert letters[value].header(HEADERS_BYTES_HEADER) == str(len(kept))
        assert letters[value].header(HEADERS_SHA256_HEADER) == sha256(kept.encode()).hexdigest()
    number = await connection.fetchval("SELECT dead_letter_id FROM credits.dead_letters WHERE value = 'large key'")
    await connection.close()
    settings = {"database_url": deployment.database_url, "kafka_bootstrap_servers": deployment.kafka}
    command = ("dead-letters", "show", str(number), "--output", "json")
    shown = await asyncio.to_thread(run_credits, *command, folder=deployment.folder, **settings)
    assert json.loads(shown.stdout)["key"] == {"encoding": "text", "data": "k" * 3_000_000}


async def test_a_claim_that_another_took_over_is_not_ended_by_the_first(database_url: str) -> None:
    first, second = await connect(database_url), await connect(database_url)
    await first.execute(
        "INSERT INTO credits.outbox (topic, key, event_id, event_time, payload) VALUES ('t', 'a', 'a:1', now(), '{}')"
    )
    late, now = PostgresOutboxSession(first), PostgresOutboxSession(second)
    old = await late.claim(10, 1_000)
    assert old is not None
    assert await now.left_over() == old
    await now.not_published(old)
    new = await now.claim(10, 1_000)

    await late.published(old)
    await late.not_published(old)
    assert new is not None
    assert await now.left_over() == new
    assert len(new.rows) == 1
    await now.published(new)
    assert await now.left_over() is None
    assert await second.fetchval("SELECT count(*) FROM credits.outbox") == 0
    await first.close()
    await second.close()

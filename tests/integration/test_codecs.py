"""Messages of every codec that Kafka has, from a foreign producer and from topics that compress anew."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiokafka.admin import NewTopic
from confluent_kafka import Producer

from credit_contracts.envelope import encode
from credit_contracts.incoming import EmailBounced, PlanChanged, ProspectExported, ProspectGenerated, ProspectImported
from credit_contracts.topics import TOPICS
from support.reconciled import reconcile
from support.replays import WHY, replay
from support.topics import CURSOR_TOPIC, admin
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.service import Deployment

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# What the broker makes of batches, whatever the producer made: its own libraries write the frames then.
RECOMPRESSED = {"prospect-exported": "zstd", "email-bounced": "lz4", "prospect-imported": "snappy"}
PARTITIONS = 3
PROSPECTS = 100
AT = datetime.now(UTC) - timedelta(hours=1)


async def make_topics(deployment: Deployment) -> None:
    topics = [
        NewTopic(
            deployment.topic(contract.name),
            PARTITIONS,
            1,
            topic_configs={"compression.type": RECOMPRESSED.get(contract.name, "producer")},
        )
        for contract in TOPICS
    ]
    async with admin(deployment.kafka) as client:
        await client.create_topics([*topics, NewTopic(deployment.topic(CURSOR_TOPIC), 1, 1)])


def send(deployment: Deployment, codec: str, events: Iterable[Event[IncomingData]]) -> None:
    """As a service that is written with librdkafka sends them."""
    producer = Producer(
        {
            "bootstrap.servers": deployment.kafka,
            "compression.type": codec,
            "linger.ms": 50,
            "partitioner": "murmur2_random",
        }
    )
    for one in events:
        record = encode(one)
        producer.produce(deployment.topic(one.type), record.value, record.key, headers=[*record.headers])
    assert producer.flush(30) == 0


async def test_messages_of_each_codec_are_decided_beside_uncompressed_ones(deployment: Deployment) -> None:
    await make_topics(deployment)
    service = await (await deployment.start()).ready()
    async with asyncio.TaskGroup() as sending:
        for codec in CODECS:
            name = f"of-{codec}"
            events = [event(PlanChanged(account_id=name, plan_id="p", monthly_credits=1_000), AT)]
            for n in range(PROSPECTS):
                at = AT + timedelta(seconds=n)
                events += [
                    event(ProspectGenerated(account_id=name, prospect_id=f"g{n}"), at),
                    event(ProspectExported(account_id=name, prospect_id=f"e{n}"), at),
                    event(ProspectImported(account_id=name, prospect_id=f"i{n}"), at),
                    event(EmailBounced(account_id=name, prospect_id=f"e{n}", bounce_type="soft"), at),
                ]
            sending.create_task(asyncio.to_thread(send, deployment, codec, events))
    observed = await deployment.oracle().check()
    assert {a["account_id"]: a["balance"] for a in observed.accounts} == {
        f"of-{codec}": 1_000 - 2 * PROSPECTS for codec in CODECS
    }
    assert observed.dead_letters == []
    assert await service.terminate() == 0

    messages = len(CODECS) * (1 + 4 * PROSPECTS)
    again = await replay(deployment, *WHY)
    assert (again.exit_code, again.summary["fates"]) == (0, {"duplicate": messages})
    agreed = await reconcile(deployment)
    assert (agreed.exit_code, agreed.findings) == (0, [])

"""Messages of every codec that Kafka has, from foreign producers and from topics that recompress."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiokafka.admin import NewTopic

from credit_contracts.envelope import encode
from credit_contracts.incoming import EmailBounced, PlanChanged, ProspectExported, ProspectGenerated, ProspectImported
from credit_contracts.topics import TOPICS
from support.foreign import kafka_python, librdkafka
from support.foreign.batches import CODECS
from support.reconciled import reconcile
from support.replays import WHY, replay
from support.topics import CURSOR_TOPIC, admin
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.service import Deployment

CLIENTS = [(client, codec) for client in (librdkafka, kafka_python) for codec in CODECS]
# What the broker makes of batches, whatever the producer made: its own libraries write the frames then.
RECOMPRESSED = {"prospect-exported": "zstd", "email-bounced": "lz4", "prospect-imported": "snappy"}
PARTITIONS = 3
PROSPECTS = 50
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


def records_of(deployment: Deployment, events: Iterable[Event[IncomingData]]) -> list[librdkafka.Sent]:
    encoded = [(deployment.topic(one.type), encode(one)) for one in events]
    return [(topic, librdkafka.MURMUR2, r.key, r.value, r.headers) for topic, r in encoded]


async def test_messages_of_each_codec_are_decided_beside_uncompressed_ones(deployment: Deployment) -> None:
    await make_topics(deployment)
    service = await (await deployment.start()).ready()
    async with asyncio.TaskGroup() as sending:
        for client, codec in CLIENTS:
            name = f"of-{codec}-{client.__name__}"
            events = [event(PlanChanged(account_id=name, plan_id="p", monthly_credits=1_000), AT)]
            for n in range(PROSPECTS):
                at = AT + timedelta(seconds=n)
                events += [
                    event(ProspectGenerated(account_id=name, prospect_id=f"g{n}"), at),
                    event(ProspectExported(account_id=name, prospect_id=f"e{n}"), at),
                    event(ProspectImported(account_id=name, prospect_id=f"i{n}"), at),
                    event(EmailBounced(account_id=name, prospect_id=f"e{n}", bounce_type="soft"), at),
                ]
            sending.create_task(asyncio.to_thread(client.send, deployment.kafka, codec, records_of(deployment, events)))
    observed = await deployment.oracle().check()
    assert {a["account_id"]: a["balance"] for a in observed.accounts} == {
        f"of-{codec}-{client.__name__}": 1_000 - 2 * PROSPECTS for client, codec in CLIENTS
    }
    assert observed.dead_letters == []
    assert await service.terminate() == 0

    messages = len(CLIENTS) * (1 + 4 * PROSPECTS)
    again = await replay(deployment, *WHY)
    assert (again.exit_code, again.summary["fates"]) == (0, {"duplicate": messages})
    agreed = await reconcile(deployment)
    assert (agreed.exit_code, agreed.findings) == (0, [])

"""Processing of a deployment's messages in the test's own process, with the results that a service would have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from credit_service.application.processing.processor import Processor
from credit_service.application.readiness import Status
from credit_service.domain.rules import Rules
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.publish.relay import Relay
from credit_service.kafka.ranges.ranges import Range
from credit_service.kafka.ranges.replay_source import open_records, replay_ranges
from credit_service.kafka.topics import partition_counts
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.ledger.outbox import PostgresOutbox
from credit_service.postgres.pool import open_pool
from support.observed import Progress
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.service import Deployment

BATCH_RECORDS_MAX = 1_000
PAST_ANY_END = 2**62


async def work_off(deployment: Deployment) -> None:
    """Decides and publishes all messages of the topics, and commits the offsets of the group, which has no members.

    For tests of later steps: other tests prove that a running service does the same.
    """
    await work_off_unpublished(deployment)
    await publish(deployment)


async def work_off_unpublished(deployment: Deployment) -> None:
    """As `work_off`, but the outgoing events stay in the outbox."""
    kafka = _connection_of(deployment)
    rules = Rules()
    counts = await partition_counts(kafka, kafka.incoming_topics, "read")
    partitions = [(topic, number) for topic in kafka.incoming_topics for number in range(counts[topic])]
    lying = await replay_ranges(kafka, kafka.incoming_topics, None, None, dict.fromkeys(partitions, PAST_ANY_END), {})
    async with open_pool(deployment.database_url) as pool:
        ledger = PostgresLedger(pool, unparked_max=rules.unparked_max, topic_prefix=deployment.prefix)
        processor, store = Processor(ledger, rules), PostgresOffsetStore(pool)
        await store.open(dict.fromkeys(partitions, 0))
        processor.positions.update(await store.load(partitions))
        undecided = [Range(r.topic, r.number, max(r.first, processor.positions[r.partition]), r.end) for r in lying]
        async with open_records(kafka, [one for one in undecided if one.first < one.end]) as source:
            async for batch in source.batches(BATCH_RECORDS_MAX):
                await processor.process(batch, asyncio.Event())
    await commit_offsets(deployment, processor.positions)


async def publish(deployment: Deployment) -> None:
    """Runs a relay until the outbox is empty."""
    kafka = _connection_of(deployment)
    async with open_pool(deployment.database_url) as pool:
        relay = Relay(kafka, PostgresOutbox(deployment.database_url, pool), AccessWatch(kafka, Status()))
        running = asyncio.create_task(relay.run())
        await eventually(lambda: relay.is_leading, what="the relay leads")
        relay.stop()
        await running
    assert relay.restarts == 0
    async with Progress(deployment.database_url, deployment.kafka, deployment.group, deployment.prefix) as progress:

        async def is_closed() -> bool:
            return not (await progress.look()).open_ends

        await eventually(is_closed, what="each partition has heard that the last transaction is over")


async def commit_offsets(deployment: Deployment, positions: Mapping[tuple[str, int], int]) -> None:
    """Commits offsets of the group, which has no members."""
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.kafka, group_id=deployment.group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign([TopicPartition(*place) for place in positions])
        await consumer.commit({TopicPartition(*place): end for place, end in positions.items()})
    finally:
        await consumer.stop()


def _connection_of(deployment: Deployment) -> KafkaConnection:
    return KafkaConnection(deployment.kafka, deployment.group, deployment.prefix)

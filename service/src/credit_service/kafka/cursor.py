"""Whether a claim was published: Kafka says so itself."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from credit_contracts.topics import partition_for
from credit_service.application.ports import Claim, WaitingEvent
from credit_service.kafka.connection import KafkaConnection

ASK_SECONDS_MAX = 20.0
TAIL_OFFSETS = 20_000
"""Far more than one claim and its markers take in any one partition."""


async def was_published(claim: Claim, connection: KafkaConnection) -> bool:
    """True if the transaction that carried `claim` was committed.

    The cursor's metadata tells. If it is another's or gone, the topics' tails are searched: a transaction is published
    whole or not at all, so one event of it stands for all. To be asked once the predecessor's transaction has ended.
    """
    async with asyncio.timeout(ASK_SECONDS_MAX):
        if await _cursor(connection) == claim.claim_id:
            return True
        return await _is_in_tail(claim, connection)


async def _cursor(connection: KafkaConnection) -> str | None:
    partition = TopicPartition(connection.cursor_topic, 0)
    admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap_servers.split(","))
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(connection.relay_id, partitions=[partition])
    finally:
        await admin.close()
    return offsets[partition].metadata if partition in offsets else None


async def _is_in_tail(claim: Claim, connection: KafkaConnection) -> bool:
    event = next((row for row in claim.rows if isinstance(row, WaitingEvent)), None)
    if event is None:
        return False
    consumer = AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers.split(","),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        topic = connection.topic(event.topic)
        count = len(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))
        partition = TopicPartition(topic, partition_for(event.key, count))
        consumer.assign([partition])
        return await _finds(consumer, partition, event.event_id.encode())
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer.topics()
    return consumer.partitions_for_topic(topic) or {0}


async def _finds(consumer: AIOKafkaConsumer, partition: TopicPartition, event_id: bytes) -> bool:
    first = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, max(first, end - TAIL_OFFSETS))
    while await consumer.position(partition) < end:
        fetched = await consumer.getmany(partition, timeout_ms=500)
        for record in fetched.get(partition, ()):
            if ("ce_id", event_id) in record.headers:
                return True
    return False

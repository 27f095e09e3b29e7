"""Finds out from Kafka whether a claim was published."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CorruptRecordException

from credit_service import bounds
from credit_service.application.kept_record import Headers
from credit_service.application.ports import Claim
from credit_service.application.processing.outgoing_record import OutgoingRecord, outgoing_record
from credit_service.application.tracing import TRACEPARENT
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.fetch.portion_consumer import PortionConsumer
from credit_service.kafka.fetch.portions import Fault
from credit_service.kafka.topics import partition_counts

ASK_SECONDS_MAX = 20.0
TAIL_OFFSETS = 20_000
"""Far more than one claim and its markers take in any one partition."""


async def was_published(claim: Claim, connection: KafkaConnection) -> bool:
    """True if the transaction that carried `claim` was committed.

    The metadata of the cursor's offset names the last claim. If it names another one, or is gone, the topic's last
    offsets are searched for the claim's first record: a transaction is published whole or not at all. To be called once
    the predecessor's transaction has ended.
    """
    async with asyncio.timeout(ASK_SECONDS_MAX):
        if await _cursor(connection) == claim.claim_id:
            return True
        return await _is_in_tail(claim, connection)


async def _cursor(connection: KafkaConnection) -> str | None:
    partition = TopicPartition(connection.cursor_topic, 0)
    admin = create_client(AIOKafkaAdminClient, connection)
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(connection.relay_id, partitions=[partition])
    finally:
        await admin.close()
    return offsets[partition].metadata if partition in offsets else None


async def _is_in_tail(claim: Claim, connection: KafkaConnection) -> bool:
    if not claim.rows:
        return False
    first = claim.rows[0]
    topic = connection.topic(first.topic)
    record = outgoing_record(first, (await partition_counts(connection, [topic], "read"))[topic])
    consumer = create_client(
        PortionConsumer,
        connection,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        partition = TopicPartition(topic, record.partition)
        consumer.assign([partition])
        return await _finds(consumer, partition, record)
    finally:
        await consumer.stop()


async def _finds(consumer: PortionConsumer, partition: TopicPartition, record: OutgoingRecord) -> bool:
    """Whether the partition has the record, by the headers that name the event, or the place of the dead letter.

    Batches that cannot be read are skipped: others wrote them, or they were damaged since.
    """
    name = _identity(record.headers)
    first = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, max(first, end - TAIL_OFFSETS))
    while await consumer.position(partition) < end:
        for portion in await consumer.portions(
            partition, timeout_ms=500, records_max=bounds.POLL_RECORDS_MAX, bytes_max=bounds.POLL_BYTES_MAX
        ):
            if any(_identity(found.headers) == name for found in portion.records):
                return True
            if isinstance(portion.fault, Fault):
                if portion.fault.until is None:
                    raise CorruptRecordException(portion.fault.cause)
                consumer.seek(partition, portion.fault.until)
    return False


def _identity(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The headers that identify a record; without the trace, which the publisher may not have known."""
    return [(name, value) for name, value in headers if name != TRACEPARENT]

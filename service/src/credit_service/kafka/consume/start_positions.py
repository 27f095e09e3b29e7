"""The offset at which an assigned partition is read: the ledger's, not Kafka's."""

import asyncio
from collections.abc import Collection, Mapping
from uuid import UUID

import structlog
from aiokafka import TopicPartition

from credit_service.application.ports import OffsetStore, Positions
from credit_service.kafka.access.topic_ids import as_kafka_shows, recreated
from credit_service.kafka.consume.consumer import HandOverConsumer

log = structlog.get_logger(__name__)

# The client itself would try for 40 seconds, for all partitions if one has no leader.
ANSWER_SECONDS_MAX = 10.0


async def start_positions(
    consumer: HandOverConsumer,
    offsets: OffsetStore,
    partitions: Collection[TopicPartition],
    topic_ids: Mapping[str, UUID],
) -> Positions:
    """The stored offset of each partition; the log's start where there is none yet.

    An offset that retention has removed, or that is beyond the log's end, is recorded as a gap, and reading goes on at
    the log's start: repeated messages are recognised, skipped ones would be lost. The same holds for an offset of a
    topic that was deleted and created again; `topic_ids` are the current ids. Raises `LedgerUnavailable`, and
    KafkaError or TimeoutError if Kafka does not give the bounds of one partition.
    """
    stored = await offsets.load(partitions)
    old_ids = await offsets.topic_ids(partitions)
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        first = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
    await offsets.open({(tp.topic, tp.partition): first[tp] for tp in partitions if tp not in stored})
    of_deleted_topics = recreated(old_ids, topic_ids)
    for partition in partitions:
        expected = stored.get(partition)
        if expected is not None and partition in of_deleted_topics:
            old_id, new_id = old_ids[partition], topic_ids[partition.topic]
            log.error(
                "the topic was created again, reading it from its beginning, messages of the old one may be missing",
                topic=partition.topic,
                partition=partition.partition,
                expected_offset=expected,
                resumed_offset=first[partition],
                log_end_offset=end[partition],
                old_topic_id=as_kafka_shows(old_id),
                topic_id=as_kafka_shows(new_id),
            )
            await offsets.begin_anew(partition, expected, first[partition], end[partition], old_id, new_id)
        elif expected is not None and not first[partition] <= expected <= end[partition]:
            log.error(
                "offsets are gone, messages may be missing",
                topic=partition.topic,
                partition=partition.partition,
                expected_offset=expected,
                resumed_offset=first[partition],
                log_end_offset=end[partition],
            )
            await offsets.skip_gap(partition, expected, first[partition], end[partition])
    await offsets.adopt({tp: topic_ids[tp.topic] for tp in partitions if tp not in old_ids and tp.topic in topic_ids})
    return await offsets.load(partitions)

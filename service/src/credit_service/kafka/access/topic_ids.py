"""Kafka's ids of topics: a topic that is deleted and created again has the same name and another id."""

from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from uuid import UUID

from credit_service.application import ports
from credit_service.application.ports import OffsetStore
from credit_service.kafka.access.probe import inspect
from credit_service.kafka.connect.acls import on_topics
from credit_service.kafka.connect.connection import KafkaConnection


def as_kafka_shows(topic_id: UUID) -> str:
    """The id in the form of Kafka's own tools."""
    return urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")


async def topic_ids(connection: KafkaConnection, topics: Collection[str]) -> dict[str, UUID]:
    """The ids of the topics that exist, or none of a broker before Kafka 2.8.

    Raises `RefusedByKafka` and `BrokerUnavailable`.
    """
    return (await inspect(connection, on_topics(topics, "describe"))).topic_ids


async def of_topics_gone(
    connection: KafkaConnection, offsets: OffsetStore, partitions: Collection[ports.TopicPartition]
) -> set[ports.TopicPartition]:
    """The partitions whose stored offsets are of a topic that was deleted and created again since."""
    now = await topic_ids(connection, sorted({topic for topic, _ in partitions}))
    return recreated(await offsets.topic_ids(partitions), now)


def recreated(stored: Mapping[ports.TopicPartition, UUID], now: Mapping[str, UUID]) -> set[ports.TopicPartition]:
    """The partitions whose topic has another id `now` than the known one."""
    return {partition for partition, known in stored.items() if now.get(partition[0], known) != known}

"""The ranges of the incoming topics that a replay reads."""

from typing import TYPE_CHECKING

from credit_service.cli.shared.connections import kafka_of, writing_pool
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_service.kafka.connect.connection import KafkaConnection
    from credit_service.kafka.ranges.ranges import Bound, Range
    from credit_service.settings import Settings


def topics_of(kafka: "KafkaConnection", given: list[str] | None) -> list[str]:
    """The given topics, or all incoming topics, by their names in Kafka."""
    from credit_contracts.topics import INCOMING_TOPICS

    names = dict.fromkeys(kafka.event_type(name) for name in given or INCOMING_TOPICS)
    for name in names:
        if name not in INCOMING_TOPICS:
            raise WrongUse(f"{name} is no incoming topic: one of {', '.join(INCOMING_TOPICS)}")
    return [kafka.topic(name) for name in names]


async def find_ranges(settings: "Settings", topics: list[str], begin: "Bound", until: "Bound") -> "list[Range]":
    """The offsets to read in each partition, up to the stored offset of the service."""
    from credit_service.kafka.access.topic_ids import of_topics_gone
    from credit_service.kafka.ranges.ranges import TopicsUnknown
    from credit_service.kafka.ranges.replay_source import replay_ranges
    from credit_service.kafka.topics import partition_counts
    from credit_service.postgres.ledger.offsets import PostgresOffsetStore

    kafka = kafka_of(settings)
    async with writing_pool(settings) as pool:
        counts = await partition_counts(kafka, topics, "read")
        partitions = [(t, at) for t in topics for at in range(counts.get(t, 0))]
        offsets = PostgresOffsetStore(pool)
        stored = await offsets.load(partitions)
        skipped = await offsets.skipped(topics)
        for gone in await of_topics_gone(kafka, offsets, partitions):
            stored.pop(gone, None)
    try:
        return await replay_ranges(kafka, topics, begin, until, stored, skipped)
    except TopicsUnknown as error:
        raise CommandFailed(f"topics are missing: {error}; run `credits topics create`") from None


def show_ranges(
    kafka: "KafkaConnection", ranges: "Sequence[Range]", begin: "Bound", until: "Bound", account_id: str | None
) -> None:
    """Shows what will be read, before the replay reads it."""
    count = sum(len(one) for one in ranges)
    topics = len({one.topic for one in ranges if len(one)})
    start = "the beginning" if begin is None else _bound(begin)
    up_to = "where the service has read" if until is None else _bound(until)
    of = "" if account_id is None else f", for those of {account_id}"
    say(f"{count:,} messages of {topics} topic{'' if topics == 1 else 's'}, from {start} to {up_to}{of}")
    for one in ranges:
        if one.lost_to_retention:
            lost = f"{one.lost_to_retention:,} before {one.first} are gone from Kafka"
            say(f"{kafka.event_type(one.topic)}/{one.number}: {lost}")
        elif one.begins_the_log and begin is not None:
            say(f"{kafka.event_type(one.topic)}/{one.number}: nothing before {one.first} is left in Kafka")


def _bound(bound: "Bound") -> str:
    return f"offset {bound}" if isinstance(bound, int) else f"{bound:%Y-%m-%d %H:%M:%S} UTC"

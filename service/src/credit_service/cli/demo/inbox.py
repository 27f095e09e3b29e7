"""Reads the outgoing topics as a downstream team does: read_committed."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from credit_contracts import (
    DEAD_LETTER_TOPIC,
    OUTGOING_TOPICS,
    BalanceChanged,
    InsufficientCredits,
    Unreadable,
    decode_outgoing,
)
from credit_contracts.dead_letters import REASON_HEADER
from credit_service.cli.demo.service import Stopped
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.topics import partition_counts

START_SECONDS_MAX = 20
READ_ON_SECONDS_MAX = 15


class Inbox:
    """Collects the outgoing events of the accounts of this run, in order of arrival."""

    def __init__(self, consumer: AIOKafkaConsumer, connection: KafkaConnection, account_ids: Collection[str]) -> None:
        self.changes: dict[str, list[BalanceChanged]] = defaultdict(list)
        self.declines: dict[str, list[InsufficientCredits]] = defaultdict(list)
        self.dead_letters: dict[str, str] = {}
        self.repeated: list[str] = []
        self._consumer = consumer
        self._connection = connection
        self._keys = {account_id.encode() for account_id in account_ids}
        self._event_ids: set[str] = set()

    def has_dead_letter(self, event_id: str) -> bool:
        """Whether the message with this id was published as a dead letter."""
        return event_id in self.dead_letters

    async def read(self) -> None:
        """Reads new records, and waits a moment for them."""
        for records in (await self._consumer.getmany(timeout_ms=50)).values():
            for record in records:
                if record.key in self._keys:
                    self._take(record)

    async def read_to_the_end(self) -> None:
        """Reads all records published until now."""
        partitions = self._consumer.assignment()
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        async with asyncio.timeout(READ_ON_SECONDS_MAX):
            while not all([await self._consumer.position(tp) >= end for tp, end in ends.items()]):
                await self.read()

    def _take(self, record: ConsumerRecord) -> None:
        if self._connection.event_type(record.topic) == DEAD_LETTER_TOPIC:
            self._take_dead_letter(dict(record.headers))
            return
        event = decode_outgoing(record.headers, record.value)
        if isinstance(event, Unreadable):
            raise Stopped(f"a published event cannot be read: {event.reason}, {event.detail}")
        self._note(event.id)
        if isinstance(event.data, BalanceChanged):
            self.changes[event.data.account_id].append(event.data)
        else:
            self.declines[event.data.account_id].append(event.data)

    def _take_dead_letter(self, headers: dict[str, Any]) -> None:
        event_id = headers["ce_id"].decode()
        self._note(f"dead letter {event_id}")
        self.dead_letters[event_id] = headers[REASON_HEADER].decode()

    def _note(self, event_id: str) -> None:
        if event_id in self._event_ids:
            self.repeated.append(event_id)
        self._event_ids.add(event_id)


@asynccontextmanager
async def open_inbox(connection: KafkaConnection, account_ids: Collection[str]) -> AsyncIterator[Inbox]:
    """An inbox that starts at the current end of the topics."""
    topics = [connection.topic(name) for name in (*OUTGOING_TOPICS, DEAD_LETTER_TOPIC)]
    counts = await partition_counts(connection, topics, "read")
    partitions = [TopicPartition(topic, n) for topic in topics for n in range(counts[topic])]
    consumer = create_client(
        AIOKafkaConsumer,
        connection,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            await consumer.start()
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        yield Inbox(consumer, connection, account_ids)
    finally:
        await consumer.stop()

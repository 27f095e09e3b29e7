"""The latency of a lone event: nothing else is on its way."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.deployment import BALANCE_CHANGED
from credit_contracts.topics import PARTITIONS, partition_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.deployment import Deployment
    from benchmarks.mix import Message, Mix

ANSWER_SECONDS_MAX = 30
# Not in step with anybody's poll.
PAUSE_SECONDS_MAX = 0.03


class Probe:
    """Sends one event, and waits for the change that it caused."""

    def __init__(self, prefix: str, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self._prefix = prefix
        self._producer = producer
        self._consumer = consumer

    async def seconds(self, message: Message) -> float:
        """From before it is sent until a read_committed consumer has the change."""
        cause = message.id.encode()
        began = time.perf_counter()
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await self._producer.send_and_wait(
                self._prefix + message.type,
                key=message.key,
                value=message.value,
                headers=message.headers,
                partition=partition_for(message.key, PARTITIONS),
            )
            while cause not in (await self._consumer.getone()).value:
                pass
        return time.perf_counter() - began


async def lone_events(deployment: Deployment, mix: Mix, samples: int) -> list[float]:
    """The seconds of so many lone events; plans are sent first, as lone events too, and not counted."""
    async with _probe(deployment) as probe:
        for plan in mix.plans():
            await probe.seconds(plan)
        seconds = []
        for sample in range(samples):
            await asyncio.sleep(random.random() * PAUSE_SECONDS_MAX)
            seconds.append(await probe.seconds(mix.lone(sample)))
        return seconds


@asynccontextmanager
async def _probe(deployment: Deployment) -> AsyncIterator[Probe]:
    servers = deployment.bootstrap_servers.split(",")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="latest",
    )
    async with consumer, AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True) as producer:
        partitions = [TopicPartition(deployment.topic_prefix + BALANCE_CHANGED, n) for n in range(PARTITIONS)]
        consumer.assign(partitions)
        for partition in partitions:
            await consumer.position(partition)
        yield Probe(deployment.topic_prefix, producer, consumer)

"""How long one event takes, from its producer to a consumer that waits: alone on its way, and among others."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic_core import from_json

from benchmarks.deployment import BALANCE_CHANGED
from credit_contracts.topics import PARTITIONS, partition_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.deployment import Deployment
    from benchmarks.mix import Message, Mix

ANSWER_SECONDS_MAX = 30
# Not in step with anybody's poll.
PAUSE_SECONDS_MAX = 0.03
# Events that are due within so long are sent together.
TICK_SECONDS = 0.002
READ_WAIT_MS = 200


@dataclass(slots=True)
class Probe:
    """Sends events, and takes the time until it has the changes that they caused."""

    prefix: str
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    _sent_at: dict[str, float] = field(default_factory=dict)
    _seconds: list[float] = field(default_factory=list)

    async def lone(self, message: Message) -> float:
        """From before the event is sent until a read_committed consumer has its change."""
        cause = message.id.encode()
        began = time.perf_counter()
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await (await self._send(message))
            while cause not in (await self.consumer.getone()).value:
                pass
        return time.perf_counter() - began

    async def stream(self, messages: Sequence[Message], rate: float) -> list[float]:
        """The same for each of these that changes a balance, sent at so many a second."""
        self._seconds = []
        # Counted, not looked for one by one: of two topics read in turns the later event may be the one that charges.
        changes = sum(message.published_in is not None for message in messages)
        receiving = asyncio.create_task(self._receive())
        try:
            await self._send_at(rate, messages)
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                while len(self._seconds) < changes:
                    await asyncio.sleep(TICK_SECONDS)
                    if receiving.done():
                        receiving.result()
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
        return self._seconds

    async def _send_at(self, rate: float, messages: Sequence[Message]) -> None:
        began = time.perf_counter()
        sent = []
        for number, message in enumerate(messages):
            early = began + number / rate - time.perf_counter()
            if early > TICK_SECONDS:
                await asyncio.sleep(early)
            self._sent_at[message.id] = time.perf_counter()
            sent.append(await self._send(message))
        await asyncio.gather(*sent)

    async def _send(self, message: Message) -> asyncio.Future[object]:
        sent: asyncio.Future[object] = await self.producer.send(
            self.prefix + message.type,
            key=message.key,
            value=message.value,
            headers=message.headers,
            partition=partition_for(message.key, PARTITIONS),
        )
        return sent

    async def _receive(self) -> None:
        while True:
            fetched = await self.consumer.getmany(timeout_ms=READ_WAIT_MS)
            now = time.perf_counter()
            for record in (record for records in fetched.values() for record in records):
                sent_at = self._sent_at.pop(from_json(record.value)["cause"]["id"])
                self._seconds.append(now - sent_at)


async def lone_events(deployment: Deployment, mix: Mix, samples: int) -> list[float]:
    """The seconds of so many lone events; plans are sent first, as lone events too, and not counted."""
    async with probing(deployment) as probe:
        for plan in mix.plans():
            await probe.lone(plan)
        seconds = []
        for sample in range(samples):
            await asyncio.sleep(random.random() * PAUSE_SECONDS_MAX)
            seconds.append(await probe.lone(mix.lone(sample)))
        return seconds


async def events_under_load(deployment: Deployment, mix: Mix, rate: float, seconds: float) -> list[float]:
    """The seconds of each event that changes a balance, at so many a second; the plans come first, not counted."""
    async with probing(deployment) as probe:
        # Made before they are sent: making them would take its share while others are measured.
        await probe.stream(list(mix.plans()), rate)
        return await probe.stream(list(mix.events(round(rate * seconds))), rate)


@asynccontextmanager
async def probing(deployment: Deployment) -> AsyncIterator[Probe]:
    """A producer, and a consumer that waits at the end of the changes."""
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

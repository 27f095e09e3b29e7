"""Sends the day as upstream teams would, one step after the other, each once the one before has been answered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from credit_contracts import Event, IncomingData, encode
from credit_service.cli.demo.inbox import Inbox
from credit_service.cli.demo.service import POLL_SECONDS, ServiceProcess, Stopped
from credit_service.cli.demo.story import Sent, Step, Story
from credit_service.kafka.connection import KafkaConnection

ANSWERED_SECONDS_MAX = 20
START_SECONDS_MAX = 20
SPEAKING_OUTCOMES = ("charged", "declined", "refunded", "plan-in-force")

Outcomes = dict[str, str]
"""What was decided, by event id."""


class Player:
    """Plays steps, and keeps what the service says it decided."""

    def __init__(
        self, producer: AIOKafkaProducer, connection: KafkaConnection, service: ServiceProcess, inbox: Inbox
    ) -> None:
        self.outcomes: Outcomes = {}
        self._producer = producer
        self._connection = connection
        self._service = service
        self._inbox = inbox

    async def play(self, story: Story, played: Callable[[Step], None]) -> None:
        """Plays the story; `played` is called after each step."""
        for step in story.steps:
            await self._send(step.messages)
            try:
                async with asyncio.timeout(ANSWERED_SECONDS_MAX):
                    for sent in step.messages:
                        await self._answered(sent)
            except TimeoutError:
                raise Stopped(
                    f"{step.customer.name}, {step.what}: no answer within {ANSWERED_SECONDS_MAX} s"
                ) from None
            played(step)

    async def _send(self, messages: list[Sent]) -> None:
        acknowledged = []
        for sent in messages:
            record = encode(sent.event)
            value = record.value if sent.is_readable else record.value[:-5]
            topic = self._connection.topic(sent.event.type)
            acknowledged.append(
                await self._producer.send(topic, value=value, key=record.key, headers=record.headers)
            )
        async with asyncio.timeout(ANSWERED_SECONDS_MAX):
            await asyncio.gather(*acknowledged)

    async def _answered(self, sent: Sent) -> None:
        event = sent.event
        if sent.is_readable and event.id not in self.outcomes:
            self.outcomes[event.id] = await self._decided(event)
        if not sent.is_readable or self.outcomes[event.id] in SPEAKING_OUTCOMES:
            while not self._inbox.has_answer_to(event.id):
                self._service.check_that_it_runs()
                await self._inbox.read()

    async def _decided(self, event: Event[IncomingData]) -> str:
        while True:
            self._service.check_that_it_runs()
            outcome = await self._service.outcome(event.data.account_id, event.source, event.id)
            if outcome is not None:
                return outcome
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def upstream_producer(connection: KafkaConnection) -> AsyncIterator[AIOKafkaProducer]:
    """A producer as every upstream team should have one."""
    producer = AIOKafkaProducer(
        bootstrap_servers=connection.bootstrap_servers.split(","), acks="all", enable_idempotence=True
    )
    async with asyncio.timeout(START_SECONDS_MAX):
        await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()

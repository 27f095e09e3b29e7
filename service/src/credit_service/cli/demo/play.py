"""Sends the day as upstream teams would, one step after the other, each once the one before has been answered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import groupby

from aiokafka import AIOKafkaProducer

from credit_contracts import Event, IncomingData, encode
from credit_service.cli.demo.inbox import Inbox
from credit_service.cli.demo.service import POLL_SECONDS, ServiceProcess, Stopped
from credit_service.cli.demo.story import Sent, Step, Story
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection

ANSWERED_SECONDS_MAX = 60
START_SECONDS_MAX = 60

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
                    await self._answered(step)
            except TimeoutError:
                told = f"{step.customer.name}, {step.what}: no answer within {ANSWERED_SECONDS_MAX} s"
                raise Stopped(told) from None
            played(step)

    async def _send(self, messages: list[Sent]) -> None:
        """Those of one topic at once. Another topic's come after: else a broker may have the later event first."""
        for event_type, together in groupby(messages, key=lambda sent: sent.event.type):
            topic = self._connection.topic(event_type)
            acknowledged = []
            for sent in together:
                record = encode(sent.event)
                value = record.value if sent.is_readable else record.value[:-5]
                acknowledged.append(
                    await self._producer.send(topic, value=value, key=record.key, headers=record.headers)
                )
            async with asyncio.timeout(ANSWERED_SECONDS_MAX):
                await asyncio.gather(*acknowledged)

    async def _answered(self, step: Step) -> None:
        """Waits until all of the step is decided, and all that was decided is published."""
        for sent in step.messages:
            if sent.is_readable:
                self.outcomes[sent.event.id] = await self._decided(sent.event)
            else:
                await self._until(partial(self._inbox.has_dead_letter, sent.event.id))
        account_id = step.customer.account_id
        account = await self._service.account(account_id)
        if account is not None:
            changes, declines = account["sequence"], account["declined_in_period"]
            await self._until(lambda: len(self._inbox.changes[account_id]) >= changes)
            await self._until(lambda: len(self._inbox.declines[account_id]) >= declines)

    async def _until(self, is_there: Callable[[], bool]) -> None:
        while not is_there():
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
    producer = create_client(AIOKafkaProducer, connection, acks="all", enable_idempotence=True)
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            await producer.start()
        yield producer
    finally:
        await producer.stop()

"""Sends the messages of the day step by step; each step waits for the decisions on the previous one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import groupby

from aiokafka import AIOKafkaProducer

from credit_contracts import Event, IncomingData, encode
from credit_service.cli.demo.inbox import Inbox
from credit_service.cli.demo.service import POLL_SECONDS, ServiceProcess, Stopped
from credit_service.cli.demo.story import Day, Sent, Step
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection

ANSWERED_SECONDS_MAX = 60
START_SECONDS_MAX = 60

Outcomes = dict[str, str]
"""The outcome of each event, by its id."""


class Player:
    """Plays the steps, and collects the outcomes that the service reports."""

    def __init__(
        self, producer: AIOKafkaProducer, connection: KafkaConnection, service: ServiceProcess, inbox: Inbox
    ) -> None:
        self.outcomes: Outcomes = {}
        self._producer = producer
        self._connection = connection
        self._service = service
        self._inbox = inbox

    async def play(self, day: Day, played: Callable[[Step], None]) -> None:
        """Plays the day; calls `played` after each step."""
        for step in day.steps:
            await self._send(step.messages)
            try:
                async with asyncio.timeout(ANSWERED_SECONDS_MAX):
                    await self._answered(step)
            except TimeoutError:
                where = f"{step.customer.name}, {step.what}"
                raise Stopped(f"{where}: no answer within {ANSWERED_SECONDS_MAX} s") from None
            played(step)

    async def _send(self, messages: list[Sent]) -> None:
        """Sends messages of one topic together, topic after topic: a broker might else append a later event first."""
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
        """Waits until the messages of the step are decided, and their events are published."""
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

"""A FastStream handler per message: what most of its users write, with the statements of `one_transaction`.

A subscriber a topic, typed by the contracts' models and acknowledged after its transaction, with a worker for each
partition, which keeps the order of an account within a topic. The relay is the one of `one_transaction`, too.
"""

from __future__ import annotations

import argparse
import asyncio
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from faststream.kafka.subscriber.usecase import ConcurrentBetweenPartitionsSubscriber

from benchmarks.one_transaction import decide, relay
from benchmarks.yardstick import (
    FETCH_WAIT_MS_MAX,
    LOOK_EVERY_SECONDS,
    PLANS,
    deployment,
    producer_of,
    run_until_sigterm,
    say_opened,
    waiting_in,
)
from credit_contracts import EmailBounced, Event, IncomingData, PlanChanged, ProspectExported, ProspectGenerated
from credit_contracts.times import parse_time
from credit_contracts.topics import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.deployment import Deployment
    from benchmarks.one_transaction import Pool

CONNECTIONS = 16


class Decider:
    """Decides one message after the other for each worker; none before all may begin, and the plans first."""

    def __init__(self, pool: Pool, plans: int, news: asyncio.Event) -> None:
        self.begin = asyncio.Event()
        self._pool = pool
        self._news = news
        self._plans = plans
        self._decided_plans: set[tuple[int, int]] = set()
        self._plans_are_decided = asyncio.Event()

    async def first_plan(self, data: PlanChanged, message: KafkaMessage) -> None:
        """A yardstick has no place for events of accounts without a plan: the others wait for the last one."""
        await self.begin.wait()
        await self._decide(data, message)
        record = record_of(message)
        self._decided_plans.add((record.partition, record.offset))
        if len(self._decided_plans) >= self._plans:
            self._plans_are_decided.set()

    async def other(self, data: IncomingData, message: KafkaMessage) -> None:
        """Whatever else the mix has."""
        await self._plans_are_decided.wait()
        await self._decide(data, message)

    async def _decide(self, data: IncomingData, message: KafkaMessage) -> None:
        headers = message.headers
        event = Event(headers["ce_source"], headers["ce_id"], headers["ce_type"], parse_time(headers["ce_time"]), data)
        async with self._pool.acquire() as connection:
            await decide(connection, record_of(message), event)
        self._news.set()


def record_of(message: KafkaMessage) -> ConsumerRecord:
    """As aiokafka has it."""
    record = message.raw_message
    assert not isinstance(record, tuple), "the subscribers take no batches"
    return record


def broker_of(place: Deployment, decider: Decider, workers: int) -> KafkaBroker:
    """The broker with its subscribers."""
    broker = KafkaBroker(place.bootstrap_servers.split(","), logger=None, allow_auto_create_topics=False)
    subscriber = partial(
        broker.subscriber,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
        ack_policy=AckPolicy.NACK_ON_ERROR,
        max_workers=workers,
    )

    @subscriber(f"{place.topic_prefix}{PLANS}", group_id=f"{place.group_id}-{PLANS}")
    async def plan_changed(data: PlanChanged, message: KafkaMessage) -> None:
        await decider.first_plan(data, message)

    @subscriber(f"{place.topic_prefix}prospect-generated", group_id=f"{place.group_id}-prospect-generated")
    async def prospect_generated(data: ProspectGenerated, message: KafkaMessage) -> None:
        await decider.other(data, message)

    @subscriber(f"{place.topic_prefix}prospect-exported", group_id=f"{place.group_id}-prospect-exported")
    async def prospect_exported(data: ProspectExported, message: KafkaMessage) -> None:
        await decider.other(data, message)

    @subscriber(f"{place.topic_prefix}email-bounced", group_id=f"{place.group_id}-email-bounced")
    async def email_bounced(data: EmailBounced, message: KafkaMessage) -> None:
        await decider.other(data, message)

    return broker


def consumers_of(broker: KafkaBroker) -> list[AIOKafkaConsumer]:
    """One for each worker of each subscriber."""
    subscribers = [s for s in broker.subscribers if isinstance(s, ConcurrentBetweenPartitionsSubscriber)]
    return [consumer for subscriber in subscribers for consumer in subscriber.consumer_subgroup]


async def all_opened(consumers: Iterable[AIOKafkaConsumer], partitions: int) -> None:
    """Waits until each worker has so many partitions."""
    while any(len(c.assignment()) != partitions for c in consumers):  # noqa: ASYNC110 - told to listeners only
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def work(place: Deployment, workers: int) -> None:
    """Consumes, decides, publishes, for ever."""
    news = asyncio.Event()
    async with (
        asyncpg.create_pool(
            place.database_url,
            min_size=CONNECTIONS + 1,
            max_size=CONNECTIONS + 1,
            server_settings={"search_path": "one_transaction", "timezone": "UTC"},
        ) as pool,
        producer_of(place) as producer,
        pool.acquire() as relays,
        asyncio.TaskGroup() as group,
    ):
        decider = Decider(pool, await waiting_in(place, PLANS), news)
        async with broker_of(place, decider, workers) as broker:
            await broker.start()
            await all_opened(consumers_of(broker), PARTITIONS // workers)
            say_opened()
            decider.begin.set()
            group.create_task(relay(relays, producer, place.topic_prefix, news))
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, required=True, help="of each topic; divides its partitions evenly")
    run_until_sigterm(work(deployment(), parser.parse_args().workers))

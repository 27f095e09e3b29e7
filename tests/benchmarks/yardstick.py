"""What the yardsticks have in common: where they work, what they read, how they begin and end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.contenders import OPENED
from benchmarks.deployment import Deployment
from credit_contracts.topics import INCOMING_TOPICS, PARTITIONS
from credit_service.runtime.loop import run_in_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine

FETCH_WAIT_MS_MAX = 50
LOOK_EVERY_SECONDS = 0.01
PLANS = "plan-changed"


def deployment() -> Deployment:
    """The place that the environment names, as for the service."""
    names = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "TOPIC_PREFIX", "KAFKA_GROUP_ID")
    return Deployment(*(os.environ[f"CREDITS_{name}"] for name in names))


def consumer_of(place: Deployment, *, auto_commit: bool) -> AIOKafkaConsumer:
    """A member of the deployment's group, on all incoming topics."""
    return AIOKafkaConsumer(
        *(place.topic_prefix + name for name in INCOMING_TOPICS),
        bootstrap_servers=place.bootstrap_servers.split(","),
        group_id=place.group_id,
        enable_auto_commit=auto_commit,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
    )


def producer_of(place: Deployment) -> AIOKafkaProducer:
    """Idempotent, so that order holds within a partition and a retry is no repeat."""
    return AIOKafkaProducer(
        bootstrap_servers=place.bootstrap_servers.split(","), acks="all", enable_idempotence=True, max_batch_size=2**18
    )


async def opened(consumer: AIOKafkaConsumer) -> None:
    """Waits for the partitions, and says when they are there."""
    while not consumer.assignment():  # noqa: ASYNC110 - aiokafka tells it to listeners only
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    say_opened()


def say_opened() -> None:
    """Says that consuming begins now."""
    sys.stderr.write(json.dumps({"event": OPENED, "timestamp": datetime.now(UTC).isoformat()}) + "\n")
    sys.stderr.flush()


async def waiting_in(place: Deployment, topic: str) -> int:
    """How many messages lie in an incoming topic, from which nothing was deleted yet."""
    async with AIOKafkaConsumer(bootstrap_servers=place.bootstrap_servers.split(",")) as consumer:
        partitions = [TopicPartition(place.topic_prefix + topic, number) for number in range(PARTITIONS)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return sum(ends.values())


def hold_back_until_plans_are_read(consumer: AIOKafkaConsumer) -> None:
    """A yardstick has no merge, and no place for events of accounts without a plan: it gets the plans first."""
    consumer.pause(*(p for p in consumer.assignment() if not p.topic.endswith(PLANS)))


async def let_go_once_plans_are_read(consumer: AIOKafkaConsumer) -> None:
    """Lets the other topics come, once all plans that were there have been worked off."""
    if not consumer.paused():
        return
    plans = [p for p in consumer.assignment() if p.topic.endswith(PLANS)]
    ends = await consumer.end_offsets(plans)
    if all([await consumer.position(p) >= end for p, end in ends.items()]):
        consumer.resume(*consumer.paused())


def run_until_sigterm(work: Coroutine[None, None, None]) -> None:
    """Runs `work` for ever; SIGTERM cancels it, and it closes what it has open."""

    async def run() -> None:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    run_in_loop(run())

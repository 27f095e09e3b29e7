"""Sees when the last balance change became readable, without taking much of the machine from those who work."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.deployment import BALANCE_CHANGED
from credit_contracts.topics import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks.deployment import Deployment

POLL_SECONDS = 0.02
QUIET_SECONDS = 1.5
READ_WAIT_MS = 1_000
Ends = dict[TopicPartition, int]


class TooSlow(Exception):  # noqa: N818 - reads as what happened
    """A run did not come to its end in its time."""


@dataclass(slots=True)
class Watch:
    """Where the committed ends of `balance-changed` were, over time.

    Only the ends are asked for while the clock runs. The events themselves are read, and counted, after it.
    """

    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]
    begins: Ends
    seen: list[tuple[float, Ends]] = field(default_factory=list)

    async def until(self, changes: int, seconds_max: float, meanwhile: Callable[[], None]) -> float:
        """Waits until so many changes are readable, makes sure that each is there once; when the last one came."""
        deadline = time.time() + seconds_max
        while time.time() < deadline:
            await self._look(meanwhile)
            if not self._may_be_all(changes):
                continue
            lasts, ids = await self._read()
            if len(ids) >= changes:
                if len(ids) > changes or len(set(ids)) < changes:
                    raise AssertionError(f"{len(ids)} balance changes, {len(set(ids))} different; {changes} expected")
                return next(at for at, ends in self.seen if all(ends[p] > last for p, last in lasts.items()))
        raise TooSlow(f"{changes} balance changes were not readable within {seconds_max:.0f} s")

    async def _look(self, meanwhile: Callable[[], None]) -> None:
        ends: Ends = await self.consumer.end_offsets(self.partitions)
        if not self.seen or ends != self.seen[-1][1]:
            self.seen.append((time.time(), ends))
        meanwhile()
        await asyncio.sleep(POLL_SECONDS)

    def _may_be_all(self, changes: int) -> bool:
        """The ends count the markers of transactions too, so only silence tells; then it is worth reading."""
        at, ends = self.seen[-1]
        return sum(ends.values()) - sum(self.begins.values()) >= changes and time.time() - at > QUIET_SECONDS

    async def _read(self) -> tuple[Ends, list[bytes]]:
        """The offset of the last event of each partition, and the ids of all."""
        for partition in self.partitions:
            self.consumer.seek(partition, self.begins[partition])
        lasts: Ends = {}
        ids: list[bytes] = []
        while fetched := await self.consumer.getmany(timeout_ms=READ_WAIT_MS, max_records=5_000):
            for partition, records in fetched.items():
                lasts[partition] = records[-1].offset
                ids += [dict(record.headers)["ce_id"] for record in records]
        return lasts, ids


@asynccontextmanager
async def watching(deployment: Deployment) -> AsyncIterator[Watch]:
    """Watches from the ends as they are now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=deployment.bootstrap_servers.split(","),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        topic = deployment.topic_prefix + BALANCE_CHANGED
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        yield Watch(consumer, partitions, await consumer.end_offsets(partitions))
    finally:
        await consumer.stop()

"""Sees when the last outgoing event became readable, without taking much of the machine from those who work."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from credit_contracts.topics import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from benchmarks.deployment import Deployment

POLL_SECONDS = 0.02
# The ends count the markers of transactions too: only where they stood still for so long, it is worth reading.
QUIET_SECONDS = 0.4
READ_WAIT_MS = 500
READ_RECORDS_MAX = 5_000
Ends = dict[TopicPartition, int]


class TooSlow(Exception):  # noqa: N818 - reads as what happened
    """A run did not come to its end in its time."""


@dataclass(slots=True)
class Watch:
    """Where the committed ends of the outgoing topics were, over time.

    Only the ends are asked for while the clock runs. The events themselves are read, and counted, after it.
    """

    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]
    begins: Ends
    bytes_read: int = 0
    _seen: list[tuple[float, Ends]] = field(default_factory=list)
    _ids: list[bytes] = field(default_factory=list)
    _lasts: Ends = field(default_factory=dict)

    async def until(self, events: int, seconds_max: float, meanwhile: Callable[[], None]) -> float:
        """Waits until so many events are readable, makes sure that each is there once; when the last one came."""
        deadline = time.time() + seconds_max
        while time.time() < deadline:
            await self._look(meanwhile)
            at, ends = self._seen[-1]
            if sum(ends.values()) - sum(self.begins.values()) < events or time.time() - at < QUIET_SECONDS:
                continue
            await self._read_on(ends)
            if len(self._ids) >= events:
                self._each_once(events)
                return next(at for at, ends in self._seen if all(ends[p] > last for p, last in self._lasts.items()))
        raise TooSlow(f"{len(self._ids)} of {events} events were readable within {seconds_max:.0f} s")

    async def ends(self) -> Ends:
        """The ends of the partitions, as they are now."""
        ends: Ends = await self.consumer.end_offsets(self.partitions)
        return ends

    async def _look(self, meanwhile: Callable[[], None]) -> None:
        ends = await self.ends()
        if not self._seen or ends != self._seen[-1][1]:
            self._seen.append((time.time(), ends))
        meanwhile()
        await asyncio.sleep(POLL_SECONDS)

    async def _read_on(self, ends: Ends) -> None:
        """Reads up to these ends, or until nothing comes: what is left then are markers."""
        self.consumer.resume(*self.partitions)
        while not all([await self.consumer.position(p) >= end for p, end in ends.items()]):
            fetched = await self.consumer.getmany(timeout_ms=READ_WAIT_MS, max_records=READ_RECORDS_MAX)
            if not fetched:
                break
            for partition, records in fetched.items():
                self._lasts[partition] = records[-1].offset
                for record in records:
                    self._ids.append(dict(record.headers)["ce_id"])
                    self.bytes_read += _size(record.key, record.value, *record.headers)
        self.consumer.pause(*self.partitions)

    def _each_once(self, events: int) -> None:
        different = len(set(self._ids))
        if len(self._ids) > events or different < events:
            raise AssertionError(f"{len(self._ids)} events were published, {different} different; {events} expected")


def _size(*parts: bytes | tuple[str, bytes]) -> int:
    return sum(len(part) if isinstance(part, bytes) else len(part[0]) + len(part[1]) for part in parts)


@asynccontextmanager
async def watching(deployment: Deployment, topics: Iterable[str]) -> AsyncIterator[Watch]:
    """Watches the outgoing topics from their ends as they are now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=deployment.bootstrap_servers.split(","),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        partitions = [
            TopicPartition(deployment.topic_prefix + topic, number) for topic in topics for number in range(PARTITIONS)
        ]
        consumer.assign(partitions)
        begins = await consumer.end_offsets(partitions)
        # Nothing is fetched until it is read: fetching would take its share while others are measured.
        consumer.pause(*partitions)
        for partition, begin in begins.items():
            consumer.seek(partition, begin)
        yield Watch(consumer, partitions, begins)
    finally:
        await consumer.stop()

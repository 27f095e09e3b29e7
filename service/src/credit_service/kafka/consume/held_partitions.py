"""Partitions that cannot be read: each keeps its offset, is named in the status, and is tried again."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import structlog
from aiokafka import TopicPartition

from credit_service.application import ports
from credit_service.application.readiness import Status
from credit_service.kafka.fetch.portions import Fault

log = structlog.get_logger(__name__)

RETRY_SECONDS = 30.0
NAMED_MAX = 5

State: TypeAlias = Literal["draining", "out", "tried"]
"""Draining: the records that arrived before are still to be decided. Out: of the merge. Tried: opened again."""


@dataclass(slots=True)
class HeldPartition:
    """One partition that cannot be read from `offset` on."""

    offset: int
    cause: str
    state: State
    try_again_at: float

    @property
    def is_due(self) -> bool:
        """Whether it is out, and has been for long enough to be tried again."""
        return self.state == "out" and time.monotonic() >= self.try_again_at


class HeldPartitions:
    """Names the held partitions in `status`. Other partitions of the same number do not wait for a held one."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._held: dict[ports.TopicPartition, HeldPartition] = {}

    def __contains__(self, partition: ports.TopicPartition) -> bool:
        return partition in self._held

    def __iter__(self) -> Iterator[ports.TopicPartition]:
        return iter(self._held)

    def draining(self) -> set[ports.TopicPartition]:
        """Those that are still in the merge, and from which nothing may be fetched."""
        return {partition for partition, held in self._held.items() if held.state == "draining"}

    def items(self) -> list[tuple[ports.TopicPartition, HeldPartition]]:
        """A copy of all of them."""
        return list(self._held.items())

    def note(self, partition: TopicPartition, fault: Fault) -> None:
        """Holds the partition."""
        log.error(
            "partition is held, it cannot be read",
            topic=partition.topic,
            partition=partition.partition,
            offset=fault.offset,
            until=fault.until,
            cause=fault.cause,
        )
        self._held[partition] = HeldPartition(fault.offset, fault.cause, "draining", time.monotonic() + RETRY_SECONDS)
        self._report()

    def release(self, partition: ports.TopicPartition) -> None:
        """Holds the partition no longer: it is read past the offset at which it was held."""
        held = self._held.pop(partition)
        log.info("held partition is read again", topic=partition[0], partition=partition[1], offset=held.offset)
        self._report()

    def forget(self, partitions: Iterable[ports.TopicPartition]) -> None:
        """Forgets partitions that this member does not read any more."""
        for partition in partitions:
            self._held.pop(partition, None)
        self._report()

    def _report(self) -> None:
        named = [f"{topic}/{at} at offset {held.offset} ({held.cause})" for (topic, at), held in self._held.items()]
        more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
        listed = ", ".join(sorted(named)[:NAMED_MAX]) + more
        self._status.degrade("held", f"partitions are held, they cannot be read: {listed}" if named else None)

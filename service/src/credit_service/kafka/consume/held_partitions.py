"""Partitions that cannot be read: they stand where they are, are named, and are tried again."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import structlog
from aiokafka import TopicPartition

from credit_service.application import ports
from credit_service.application.readiness import Status
from credit_service.kafka.fetch.fetcher import Fault

log = structlog.get_logger(__name__)

RETRY_SECONDS = 30.0
NAMED_MAX = 5

State: TypeAlias = Literal["stands", "out", "tried"]
"""It stands, and what arrived before is still to be decided; it is out of the merge; or it is being read once more."""


@dataclass(slots=True)
class Held:
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
    """Says in `status` which they are. While a partition is here, others of its number do not wait for it."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._held: dict[ports.TopicPartition, Held] = {}

    def __contains__(self, partition: ports.TopicPartition) -> bool:
        return partition in self._held

    def __iter__(self) -> Iterator[ports.TopicPartition]:
        return iter(self._held)

    def standing(self) -> set[ports.TopicPartition]:
        """Those that are still in the merge, and not to be fetched from."""
        return {partition for partition, held in self._held.items() if held.state == "stands"}

    def items(self) -> list[tuple[ports.TopicPartition, Held]]:
        """All of them, of this moment."""
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
        self._held[partition] = Held(fault.offset, fault.cause, "stands", time.monotonic() + RETRY_SECONDS)
        self._tell()

    def read_again(self, partition: ports.TopicPartition) -> None:
        """Lets the partition go: it is read past the place where it stood."""
        held = self._held.pop(partition)
        log.info("held partition is read again", topic=partition[0], partition=partition[1], offset=held.offset)
        self._tell()

    def forget(self, partitions: Iterable[ports.TopicPartition]) -> None:
        """Forgets partitions that are not this member's any more, or that are left alone."""
        for partition in partitions:
            self._held.pop(partition, None)
        self._tell()

    def _tell(self) -> None:
        named = [f"{topic}/{at} at offset {held.offset} ({held.cause})" for (topic, at), held in self._held.items()]
        more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
        listed = ", ".join(sorted(named)[:NAMED_MAX]) + more
        self._status.degrade("held", f"partitions are held, they cannot be read: {listed}" if named else None)

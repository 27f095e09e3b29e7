"""The portions of a partition that a fetch hands over: records, or the fault that ends them."""

from dataclasses import dataclass, field
from typing import TypeAlias

from aiokafka import TopicPartition

from credit_service.kafka.fetch.batches import BatchRecord

NO_TIMESTAMP = -1


@dataclass(frozen=True, slots=True)
class TooLargeBatch:
    """A batch that holds too much to be unpacked: for all its offsets, `offset` up to but without `until`.

    `value` is the batch as the broker sent it.
    """

    offset: int
    until: int
    timestamp: int
    value: bytes
    key: None = None
    headers: tuple[()] = ()
    is_append_time: bool = False

    @property
    def size_bytes(self) -> int:
        """Of what is kept of it."""
        return len(self.value)


Item: TypeAlias = BatchRecord | TooLargeBatch


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a partition cannot be read from `offset` on, up to but without `until` where that is known."""

    offset: int
    until: int | None
    cause: str


class OutOfRange:
    """The log does not have what comes next: it was removed, or the log was made anew."""


@dataclass(slots=True)
class Portion:
    """What is handed over of one partition: all there is from `begin` up to but without `until`.

    Offsets without a record are those of marks, of aborted transactions, and what was compacted away. `fault`: why
    nothing comes from `until` on.
    """

    partition: TopicPartition
    begin: int
    until: int
    records: list[Item] = field(default_factory=list)
    fault: Fault | OutOfRange | None = None
    size_bytes: int = 0

    @property
    def topic(self) -> str:
        """FastStream asks for it, as it would of a record."""
        return str(self.partition.topic)

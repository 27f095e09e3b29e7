"""The portions of a partition that a fetch hands over: records, or the fault that ends them."""

from dataclasses import dataclass, field
from typing import TypeAlias

from aiokafka import TopicPartition

from credit_service.kafka.fetch.batches import BatchRecord

NO_TIMESTAMP = -1


@dataclass(frozen=True, slots=True)
class TooLargeBatch:
    """A batch that is too large to unpack; it stands for its offsets from `offset` up to but without `until`.

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
        """The size of the packed batch."""
        return len(self.value)


Item: TypeAlias = BatchRecord | TooLargeBatch


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a partition cannot be read from `offset` on, up to but without `until` where that is known."""

    offset: int
    until: int | None
    cause: str


class OutOfRange:
    """The log does not have the next offset: it was removed, or the topic was created again."""


@dataclass(slots=True)
class Portion:
    """All records of one partition from `begin` up to but without `until`.

    Offsets without a record are of transaction markers, of aborted transactions, or were compacted. `fault`: why no
    record follows from `until` on.
    """

    partition: TopicPartition
    begin: int
    until: int
    records: list[Item] = field(default_factory=list)
    fault: Fault | OutOfRange | None = None
    size_bytes: int = 0

    @property
    def topic(self) -> str:
        """The topic, which FastStream reads as it would of a record."""
        return str(self.partition.topic)

"""The merge: the partitions of one number, of all topics, become one sequence of records by their `order`."""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heapreplace

from credit_service.application.ports import TopicPartition
from credit_service.application.processing.arrival import Arrivals, LedgerClock
from credit_service.application.record import Record

IsReadToItsEnd = Callable[[TopicPartition], bool]


@dataclass(slots=True)
class _Buffer:
    """The records of one partition, in their order."""

    arrivals: Arrivals
    records: deque[Record] = field(default_factory=deque)
    size_bytes: int = 0


class Merge:
    """Buffers of records, and the order in which they are taken out.

    The head of the lowest order goes first; a partition with nothing buffered holds the others of its number
    back while it has messages waiting. The order within a partition is never changed. A partition is full once it
    holds its share of `bytes_max`: the fewer have anything buffered, the larger the share.
    """

    def __init__(self, bytes_max: int, clock: LedgerClock) -> None:
        self._bytes_max = bytes_max
        self._clock = clock
        self._buffers: dict[TopicPartition, _Buffer] = {}
        self._by_number: dict[int, dict[TopicPartition, _Buffer]] = defaultdict(dict)
        self._turn = 0

    @property
    def partitions(self) -> Collection[TopicPartition]:
        """The partitions that take part."""
        return self._buffers.keys()

    @property
    def buffered(self) -> int:
        """How many records wait here."""
        return sum(len(buffer.records) for buffer in self._buffers.values())

    def add(self, partition: TopicPartition) -> None:
        """Adds the partition, with an empty buffer."""
        self._buffers[partition] = self._by_number[partition[1]][partition] = _Buffer(Arrivals(self._clock))

    def remove(self, partition: TopicPartition) -> None:
        """Removes the partition and its buffered records."""
        if self._buffers.pop(partition, None) is not None:
            del self._by_number[partition[1]][partition]
            if not self._by_number[partition[1]]:
                del self._by_number[partition[1]]

    def feed(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """Buffers records; those of a partition that takes no part are dropped, and are fetched again later."""
        buffer = self._buffers.get(partition)
        if buffer is not None:
            buffer.arrivals.put_in_order(records)
            buffer.records.extend(records)
            buffer.size_bytes += sum(record.size_bytes for record in records)

    def has(self, partition: TopicPartition) -> bool:
        """Whether the partition has records buffered."""
        buffer = self._buffers.get(partition)
        return buffer is not None and bool(buffer.records)

    def heads(self) -> dict[TopicPartition, Record]:
        """The first record of each partition that has any buffered."""
        return {partition: buffer.records[0] for partition, buffer in self._buffers.items() if buffer.records}

    def earliest(self, number: int) -> datetime | None:
        """The lowest order of all buffered records of this partition number, behind the heads too; None without any."""
        buffers = self._by_number.get(number, {}).values()
        return min((record.order[0] for buffer in buffers for record in buffer.records), default=None)

    def knows_what_comes(self, number: int, is_read_to_its_end: IsReadToItsEnd) -> bool:
        """Whether each partition of the number has a record buffered, or is read to its end."""
        partitions = self._by_number.get(number, {}).items()
        return all(buffer.records or is_read_to_its_end(partition) for partition, buffer in partitions)

    def full(self) -> set[TopicPartition]:
        """The partitions that hold their share: fetching them is paused."""
        return self._with_more_than(1.0)

    def not_drained(self) -> set[TopicPartition]:
        """The partitions that hold more than half of their share: a full one is fetched again once it is below."""
        return self._with_more_than(0.5)

    def _with_more_than(self, part: float) -> set[TopicPartition]:
        holding = [(partition, b.size_bytes) for partition, b in self._buffers.items() if b.records]
        return {partition for partition, size in holding if size > part * self._bytes_max / len(holding)}

    def numbers(self) -> list[int]:
        """The partition numbers that take part."""
        return sorted(self._by_number)

    def take(self, records_max: int, bytes_max: int, is_read_to_its_end: IsReadToItsEnd) -> list[Record]:
        """Takes out the records to be decided next, up to both bounds; partition numbers take turns in going first."""
        taken: list[Record] = []
        numbers = self.numbers()
        if not numbers:
            return taken
        self._turn = (self._turn + 1) % len(numbers)
        for number in numbers[self._turn :] + numbers[: self._turn]:
            bytes_max -= self._take_of(number, taken, records_max, bytes_max, is_read_to_its_end)
            if len(taken) >= records_max or bytes_max <= 0:
                break
        return taken

    def _take_of(
        self, number: int, taken: list[Record], records_max: int, bytes_max: int, is_read_to_its_end: IsReadToItsEnd
    ) -> int:
        heads = []
        for partition, buffer in self._by_number[number].items():
            if buffer.records:
                # Each partition is there once, so that no two buffers are ever compared.
                heads.append((buffer.records[0].order, partition, buffer))
            elif not is_read_to_its_end(partition):
                return 0
        heapify(heads)
        size = 0
        while heads and len(taken) < records_max and size < bytes_max:
            _, partition, buffer = heads[0]
            record = buffer.records.popleft()
            buffer.size_bytes -= record.size_bytes
            taken.append(record)
            size += record.size_bytes
            if buffer.records:
                heapreplace(heads, (buffer.records[0].order, partition, buffer))
            elif is_read_to_its_end(partition):
                heappop(heads)
            else:
                break
        return size

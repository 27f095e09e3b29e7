"""The merge: partitions with the same number, of all topics, become one row of records in order of event time."""

from collections import deque
from collections.abc import Callable, Collection, Iterable

from credit_service.application.ports import TopicPartition
from credit_service.application.record import Record

IsReadToItsEnd = Callable[[TopicPartition], bool]


class Merge:
    """Buffers of what arrived, and the order in which it leaves.

    The head with the lowest event time goes first; a partition with nothing buffered holds the others of its number
    back while it has messages waiting. The order within a partition is never changed.
    """

    def __init__(self) -> None:
        self._buffers: dict[TopicPartition, deque[Record]] = {}
        self._turn = 0

    @property
    def partitions(self) -> Collection[TopicPartition]:
        """The partitions that take part."""
        return self._buffers.keys()

    def add(self, partition: TopicPartition) -> None:
        """Lets the partition take part, with an empty buffer."""
        self._buffers[partition] = deque()

    def remove(self, partition: TopicPartition) -> None:
        """Takes the partition out, and what it had buffered with it."""
        self._buffers.pop(partition, None)

    def feed(self, partition: TopicPartition, records: Iterable[Record]) -> None:
        """Takes what arrived; records of a partition that takes no part are dropped, they will come again."""
        buffer = self._buffers.get(partition)
        if buffer is not None:
            buffer.extend(records)

    def buffered(self, partition: TopicPartition) -> int:
        """How many records of the partition wait here."""
        return len(self._buffers.get(partition, ()))

    def numbers(self) -> list[int]:
        """The partition numbers that take part."""
        return sorted({number for _, number in self._buffers})

    def take(self, records_max: int, bytes_max: int, is_read_to_its_end: IsReadToItsEnd) -> list[Record]:
        """Takes out what may be decided next, at most so much; numbers take turns in going first."""
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
        for partition, buffer in self._buffers.items():
            if partition[1] != number:
                continue
            if buffer:
                heads.append((partition, buffer))
            elif not is_read_to_its_end(partition):
                return 0
        size = 0
        while heads and len(taken) < records_max and size < bytes_max:
            partition, buffer = min(heads, key=lambda head: head[1][0].order)
            record = buffer.popleft()
            taken.append(record)
            size += record.size_bytes
            if not buffer:
                if not is_read_to_its_end(partition):
                    break
                heads.remove((partition, buffer))
        return size

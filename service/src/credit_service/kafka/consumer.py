"""aiokafka's consumer, knowing what it has handed out."""

import asyncio
import time
from collections.abc import Callable, Iterable, Set
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError, UnsupportedCodecError

OutOfRange = Callable[[Set[TopicPartition]], None]
Broken = Callable[[KafkaError], None]

END_KNOWN_MS_MAX = 5_000
POLL_WAIT_MS_MIN = 500
BROKEN_WAIT_SECONDS = 0.5


class HandOverConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no types
    """Hands out records of the partitions that were opened only, and notes in the same step how far it got.

    A partition is opened once it was set to the ledger's offset; what aiokafka fetched before, from where Kafka's own
    offsets point, is dropped. The note tells a record that is on its way to the handler from one that is not there.
    Without a reset policy, aiokafka never moves a partition by itself: where the log no longer has what comes next,
    `out_of_range` is called. What else goes wrong, a topic or a group that is refused above all, `broken` is told of:
    aiokafka says it once more at each poll, and its membership does not mend by itself.
    """

    def __init__(self, *topics: str, out_of_range: OutOfRange, broken: Broken, **options: Any) -> None:
        super().__init__(*topics, **options)
        self._out_of_range = out_of_range
        self._broken = broken
        self._handed_out: dict[TopicPartition, int] = {}

    def open(self, partition: TopicPartition, offset: int) -> None:
        """Hands out records from `offset` on."""
        self.seek(partition, offset)
        self._handed_out[partition] = offset

    def close_partitions(self, partitions: Iterable[TopicPartition]) -> None:
        """Hands out nothing of these until they are opened again."""
        for partition in partitions:
            self._handed_out.pop(partition, None)

    def leave_alone(self, partitions: Iterable[TopicPartition]) -> None:
        """Neither hands out nor fetches anything of these until they are opened again."""
        self.close_partitions(partitions)
        for partition in partitions:
            # Any position will do: for one that has none aiokafka would look again and again.
            self.seek(partition, 0)
            self.pause(partition)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """As aiokafka's, without what lies in partitions that are not open.

        Waits for records for longer than it is asked to: FastStream sleeps after each poll that comes back empty, and
        a record that arrives then would wait with it.
        """
        patience_ms = max(timeout_ms, POLL_WAIT_MS_MIN)
        try:
            fetched = await super().getmany(*partitions, timeout_ms=patience_ms, max_records=max_records)
        except OffsetOutOfRangeError as error:
            self._out_of_range(error.args[0].keys() & self._handed_out.keys())
            return {}
        except NoOffsetForPartitionError:
            return {}  # not opened yet
        except UnsupportedCodecError:
            raise
        except KafkaError as error:
            self._broken(error)
            await asyncio.sleep(BROKEN_WAIT_SECONDS)
            return {}
        handed_out = {partition: records for partition, records in fetched.items() if partition in self._handed_out}
        for partition, records in handed_out.items():
            self._handed_out[partition] = records[-1].offset + 1
        return handed_out

    def has_handed_out(self, partition: TopicPartition, offset: int) -> bool:
        """Whether all before `offset` was handed out, and nothing from there on."""
        return self._handed_out.get(partition) == offset

    async def is_read_to_its_end(self, partition: TopicPartition, received: int) -> bool:
        """Whether nothing lies in the partition beyond `received`, the offset after the last record that arrived.

        False while the end is unknown or was not heard of lately, and while a record is on its way: a broker that is
        away must not look like topics that are empty. Markers of transactions do not count.
        """
        handed_out = self._handed_out.get(partition)
        if handed_out is None or handed_out > received or partition not in self.assignment():
            return False
        if not self._was_heard_of(partition):
            return False
        end = self.last_stable_offset(partition)
        return end is not None and end >= 0 and bool(await self.position(partition) >= end)

    @property
    def fetches(self) -> list[TopicPartition]:
        """The partitions that are fetched from, and of which brokers have told before."""
        return [p for p in self.assignment() - self.paused() if self.last_poll_timestamp(p) is not None]

    def hears_nothing(self) -> bool:
        """Whether the brokers, which have answered before, did not for any partition that is fetched from lately."""
        fetched = self.fetches
        return bool(fetched) and not any(map(self._was_heard_of, fetched))

    def _was_heard_of(self, partition: TopicPartition) -> bool:
        heard_ms = self.last_poll_timestamp(partition)
        return heard_ms is not None and bool(time.time() * 1000 - heard_ms <= END_KNOWN_MS_MAX)

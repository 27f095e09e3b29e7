"""aiokafka's consumer, knowing what it has handed out."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Set
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    UnsupportedCodecError,
)


class Faults(Protocol):
    """Who is told of what goes wrong while records are read; none of this raises."""

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        """The logs of these do not have what comes next any more."""

    def note_broken(self, error: KafkaError) -> None:
        """The membership is lost, or a topic or the group is refused."""

    def note_failed_poll(self, error: Exception) -> None:
        """A poll failed, and whatever it had taken is read again."""

    def note_unreadable(self, partition: TopicPartition, offset: int, error: Exception) -> None:
        """The partition cannot be read from `offset` on; it is paused, and nothing of it is handed out any more."""


END_KNOWN_MS_MAX = 5_000
POLL_WAIT_MS_MIN = 500
FAULT_WAIT_SECONDS = 0.5
# Longer than it takes to fetch anew what a failed poll had taken.
STEPWISE_SECONDS = 5.0

# What aiokafka says of the bytes of one partition; its other errors are of the group or of a connection. What is no
# error of its own comes from these bytes, too: from a codec, or a name that is not UTF-8.
OF_ITS_BYTES = (CorruptRecordException, RecordTooLargeError, UnsupportedCodecError)
EMPTY_CONTROL_BATCH = "Control batch did not contain any records"  # of no class of its own


class HandOverConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no types
    """Hands out records of the partitions that were opened only, and notes in the same step how far it got.

    A partition is opened once it was set to the ledger's offset; what aiokafka fetched before, from where Kafka's own
    offsets point, is dropped. The note tells a record that is on its way to the handler from one that is not there.
    Without a reset policy, aiokafka never moves a partition by itself: where the log no longer has what comes next,
    `faults` hears of it.

    aiokafka moves the positions of the partitions that it has drained, and forgets what it drained if the next one
    cannot be unpacked. So after any exception each partition goes on behind what was handed out. For a while they are
    then read one by one: so the exception that comes once more tells of which partition it is, and that one is held.
    """

    def __init__(self, *topics: str, faults: Faults, **options: Any) -> None:
        super().__init__(*topics, **options)
        self._faults = faults
        self._handed_out: dict[TopicPartition, int] = {}
        self._stepwise_until = 0.0

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
        """As aiokafka's, without what lies in partitions that are not open; raises only that the consumer was stopped.

        Waits for records for longer than it is asked to: FastStream sleeps after each poll that comes back empty, and
        a record that arrives then would wait with it.
        """
        patience_ms = max(timeout_ms, POLL_WAIT_MS_MIN)
        try:
            if time.monotonic() < self._stepwise_until:
                return await self._step_by_step(max_records)
            fetched = await super().getmany(*partitions, timeout_ms=patience_ms, max_records=max_records)
        except ConsumerStoppedError:
            raise
        except Exception as error:  # whatever it is, records that were taken for this poll must not be lost with it
            await self._after(error)
            return {}
        return self._hand_out(fetched)

    def _hand_out(
        self, fetched: Mapping[TopicPartition, list[ConsumerRecord]]
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        handed_out = {partition: records for partition, records in fetched.items() if partition in self._handed_out}
        for partition, records in handed_out.items():
            self._handed_out[partition] = records[-1].offset + 1
        return handed_out

    async def _after(self, error: Exception) -> None:
        """Sets each open partition to behind what was handed out of it, and says what went wrong."""
        if isinstance(error, NoOffsetForPartitionError):
            return  # one is not opened yet: said again and again, by polls that have taken nothing
        for partition in self._handed_out.keys() & self.assignment():
            self.seek(partition, self._handed_out[partition])
        if isinstance(error, OffsetOutOfRangeError):
            self._faults.note_out_of_range(error.args[0].keys() & self._handed_out.keys())
        elif is_of_bytes(error):
            self._faults.note_failed_poll(error)
            self.go_stepwise()
        else:
            self._faults.note_broken(error)
            await asyncio.sleep(FAULT_WAIT_SECONDS)

    def go_stepwise(self) -> None:
        """Reads partitions one by one for a while, since one of them may not be readable."""
        self._stepwise_until = time.monotonic() + STEPWISE_SECONDS

    async def _step_by_step(self, records_max: int | None) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Each open partition by itself and record by record: what lies before the one at fault is handed out."""
        handed_out: dict[TopicPartition, list[ConsumerRecord]] = {}
        for partition in self._handed_out.keys() - self.paused():
            left = records_max or 1
            while left and partition in self._handed_out:
                try:
                    fetched = self._hand_out(await super().getmany(partition, timeout_ms=0, max_records=1))
                except Exception as error:
                    if is_of_bytes(error):
                        self._hold(partition, error)
                        break
                    if handed_out:
                        return handed_out  # it comes again with the next poll
                    raise
                if not fetched:
                    break
                handed_out.setdefault(partition, []).extend(fetched[partition])
                left -= 1
        return handed_out

    def _hold(self, partition: TopicPartition, error: Exception) -> None:
        self.pause(partition)
        self.go_stepwise()
        self._faults.note_unreadable(partition, self._handed_out.pop(partition), error)

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


def is_of_bytes(error: Exception) -> bool:
    """Whether the error comes from what a partition holds, and not from the group or a connection."""
    if isinstance(error, KafkaError):
        return isinstance(error, OF_ITS_BYTES) or EMPTY_CONTROL_BATCH in error.args
    return not isinstance(error, ConsumerStoppedError)

"""The member's consumer, which notes the offset up to which it has handed out each partition."""

import asyncio
import time
from collections.abc import Iterable, Set
from typing import Any, Protocol

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, NoOffsetForPartitionError

from credit_service import bounds
from credit_service.kafka.consume.open_transactions import Ends
from credit_service.kafka.fetch.portion_consumer import PortionConsumer
from credit_service.kafka.fetch.portions import Fault, OutOfRange, Portion


class Faults(Protocol):
    """Receives the faults of a poll; no method raises."""

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        """The logs of these do not have the next offset any more."""

    def note_broken(self, error: KafkaError) -> None:
        """The membership is lost, or access to a topic or the group is refused."""

    def note_unreadable(self, partition: TopicPartition, fault: Fault) -> None:
        """The partition cannot be read; it is paused, and no record of it is handed out any more."""


log = structlog.get_logger(__name__)

END_KNOWN_MS_MAX = 5_000
POLL_WAIT_MS_MIN = 500
FAULT_WAIT_SECONDS = 0.5


class HandOverConsumer(PortionConsumer):
    """Hands out records of opened partitions only, and notes in the same step up to which offset.

    A partition is opened when it is set to the ledger's offset; records that aiokafka has fetched before, from Kafka's
    own offsets, are dropped. By the note, a record on its way to the handler differs from one that does not exist.
    Without a reset policy, aiokafka never moves a partition by itself: `faults` receives partitions whose log does not
    have the next offset, and those that cannot be read, which are paused.
    """

    def __init__(self, *topics: str, faults: Faults, **options: Any) -> None:
        super().__init__(*topics, **options)
        self._faults = faults
        self._handed_out: dict[TopicPartition, int] = {}

    def open(self, partition: TopicPartition, offset: int) -> None:
        """Hands out records from `offset` on."""
        self.seek(partition, offset)
        self._handed_out[partition] = offset

    def close_partitions(self, partitions: Iterable[TopicPartition]) -> None:
        """Hands out no records of these until they are opened again."""
        for partition in partitions:
            self._handed_out.pop(partition, None)

    def suspend(self, partitions: Iterable[TopicPartition]) -> None:
        """Neither hands out nor fetches records of these until they are opened again."""
        self.close_partitions(partitions)
        for partition in partitions:
            # Any position will do: aiokafka would look again and again for one that is missing.
            self.seek(partition, 0)
            self.pause(partition)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Portion]]:
        """Replaces aiokafka's, for FastStream; raises only `ConsumerStoppedError`.

        Waits for longer than requested: FastStream sleeps after each empty poll, and a record that arrives then would
        wait for it.
        """
        try:
            portions = await self.portions(
                *partitions,
                timeout_ms=max(timeout_ms, POLL_WAIT_MS_MIN),
                records_max=max_records or bounds.POLL_RECORDS_MAX,
                bytes_max=bounds.POLL_BYTES_MAX,
            )
        except (ConsumerStoppedError, asyncio.CancelledError):
            raise
        except NoOffsetForPartitionError:
            return {}  # a partition is not opened yet, and would be reported again and again
        except KafkaError as error:
            self._faults.note_broken(error)
            await asyncio.sleep(FAULT_WAIT_SECONDS)
            return {}
        except Exception:  # a defect; FastStream would stop to read without an error
            log.exception("a poll failed")
            await asyncio.sleep(FAULT_WAIT_SECONDS)
            return {}
        return {portion.partition: [portion] for portion in portions if self._is_handed_out(portion)}

    def _is_handed_out(self, portion: Portion) -> bool:
        """Notes the portion and the fault behind it; False for an empty one, or of a partition that is not opened."""
        at = portion.partition
        if at not in self._handed_out:
            return False
        self._handed_out[at] = portion.until
        if portion.fault is not None:
            self.pause(at)
        if isinstance(portion.fault, OutOfRange):
            self._faults.note_out_of_range({at})
        elif portion.fault is not None:
            del self._handed_out[at]
            self._faults.note_unreadable(at, portion.fault)
        return portion.until > portion.begin

    def has_handed_out(self, partition: TopicPartition, offset: int) -> bool:
        """Whether all records before `offset` were handed out, and none from there on."""
        return self._handed_out.get(partition) == offset

    def ends(self, partition: TopicPartition) -> Ends | None:
        """Where the partition ends; None while that is unknown, or no broker has reported it lately."""
        if partition not in self.assignment() or not self._is_known_lately(partition):
            return None
        stable, written = self.last_stable_offset(partition), self.highwater(partition)
        return None if stable is None or stable < 0 or written is None else Ends(stable, max(stable, written))

    async def is_read_to_its_end(
        self, partition: TopicPartition, received: int, *, waits_for_transactions: bool = True
    ) -> bool:
        """Whether the partition has no records from `received` on, the offset after the last record that arrived.

        False while the end is unknown or old, and while a record is on its way: a broker that is away must not look
        like empty topics. False, too, while a transaction is open, unless these are not waited for. Transaction markers
        do not count as records.
        """
        handed_out = self._handed_out.get(partition)
        ends = self.ends(partition)
        if handed_out is None or handed_out > received or ends is None:
            return False
        end = ends.written if waits_for_transactions else ends.stable
        return bool(await self.position(partition) >= end)

    def stay_in_the_group(self) -> None:
        """Has `stop` send no leave request: the member stays in the group until its session expires."""

        async def send_nothing() -> None: ...

        # The only option for it is `group.instance.id`, with which the member would be a static one from the beginning.
        if self._coordinator is not None:
            self._coordinator._maybe_leave_group = send_nothing

    @property
    def fetches(self) -> list[TopicPartition]:
        """The partitions that are fetched from, and for which a broker has answered before."""
        return [p for p in self.assignment() - self.paused() if self.last_poll_timestamp(p) is not None]

    def brokers_are_silent(self) -> bool:
        """Whether brokers, which have answered before, have lately answered for no partition that is fetched from."""
        fetched = self.fetches
        return bool(fetched) and not any(map(self._is_known_lately, fetched))

    def _is_known_lately(self, partition: TopicPartition) -> bool:
        answered_ms = self.last_poll_timestamp(partition)
        return answered_ms is not None and bool(time.time() * 1000 - answered_ms <= END_KNOWN_MS_MAX)

"""The consumer of the group's member, which knows what it has handed out."""

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
    """Who is told of what goes wrong while records are read; none of this raises."""

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        """The logs of these do not have what comes next any more."""

    def note_broken(self, error: KafkaError) -> None:
        """The membership is lost, or a topic or the group is refused."""

    def note_unreadable(self, partition: TopicPartition, fault: Fault) -> None:
        """The partition cannot be read; it is paused, and nothing of it is handed out any more."""


log = structlog.get_logger(__name__)

END_KNOWN_MS_MAX = 5_000
POLL_WAIT_MS_MIN = 500
FAULT_WAIT_SECONDS = 0.5


class HandOverConsumer(PortionConsumer):
    """Hands over what lies in the partitions that were opened only, and notes in the same step how far it got.

    A partition is opened once it was set to the ledger's offset; what aiokafka fetched before, from where Kafka's own
    offsets point, is dropped. The note tells a record that is on its way to the handler from one that is not there.
    Without a reset policy, aiokafka never moves a partition by itself: where the log no longer has what comes next,
    `faults` hears of it, as of a partition that cannot be read, which is paused.
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
        """Hands out nothing of these until they are opened again."""
        for partition in partitions:
            self._handed_out.pop(partition, None)

    def suspend(self, partitions: Iterable[TopicPartition]) -> None:
        """Neither hands out nor fetches anything of these until they are opened again."""
        self.close_partitions(partitions)
        for partition in partitions:
            # Any position will do: for one that has none aiokafka would look again and again.
            self.seek(partition, 0)
            self.pause(partition)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Portion]]:
        """In the place of aiokafka's, for FastStream: raises only that the consumer was stopped.

        Waits for longer than it is asked to: FastStream sleeps after each poll that comes back empty, and a record that
        arrives then would wait with it.
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
            return {}  # one is not opened yet: said again and again
        except KafkaError as error:
            self._faults.note_broken(error)
            await asyncio.sleep(FAULT_WAIT_SECONDS)
            return {}
        except Exception:  # a defect; FastStream would end reading without a word
            log.exception("a poll failed")
            await asyncio.sleep(FAULT_WAIT_SECONDS)
            return {}
        return {portion.partition: [portion] for portion in portions if self._is_handed_out(portion)}

    def _is_handed_out(self, portion: Portion) -> bool:
        """Notes it, and what is wrong behind it; False for what nobody asked for, or has nothing in it."""
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
        """Whether all before `offset` was handed out, and nothing from there on."""
        return self._handed_out.get(partition) == offset

    def ends(self, partition: TopicPartition) -> Ends | None:
        """Where the partition ends; None while that is unknown, or was not heard of lately."""
        if partition not in self.assignment() or not self._was_heard_of(partition):
            return None
        stable, written = self.last_stable_offset(partition), self.highwater(partition)
        return None if stable is None or stable < 0 or written is None else Ends(stable, max(stable, written))

    async def is_read_to_its_end(
        self, partition: TopicPartition, received: int, *, waits_for_transactions: bool = True
    ) -> bool:
        """Whether nothing lies in the partition beyond `received`, the offset after the last record that arrived.

        False while the end is unknown or was not heard of lately, and while a record is on its way: a broker that is
        away must not look like topics that are empty. So it is while a transaction is open, unless these are not waited
        for. Markers of transactions do not count.
        """
        handed_out = self._handed_out.get(partition)
        ends = self.ends(partition)
        if handed_out is None or handed_out > received or ends is None:
            return False
        end = ends.written if waits_for_transactions else ends.stable
        return bool(await self.position(partition) >= end)

    def stay_in_the_group(self) -> None:
        """Has `stop` tell the group nothing: it takes this member for alive until its session has run out."""

        async def tell_nothing() -> None: ...

        # No option does it but a `group.instance.id`, which has a member be another kind of one from the beginning.
        if self._coordinator is not None:
            self._coordinator._maybe_leave_group = tell_nothing

    @property
    def fetches(self) -> list[TopicPartition]:
        """The partitions that are fetched from, and of which brokers have told before."""
        return [p for p in self.assignment() - self.paused() if self.last_poll_timestamp(p) is not None]

    def brokers_are_silent(self) -> bool:
        """Whether the brokers, which have answered before, did not for any partition that is fetched from lately."""
        fetched = self.fetches
        return bool(fetched) and not any(map(self._was_heard_of, fetched))

    def _was_heard_of(self, partition: TopicPartition) -> bool:
        heard_ms = self.last_poll_timestamp(partition)
        return heard_ms is not None and bool(time.time() * 1000 - heard_ms <= END_KNOWN_MS_MAX)

"""The intake: what arrives is buffered; one task merges, decides, stores, and only then commits Kafka's offsets."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Set
from dataclasses import dataclass

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from credit_contracts.topics import partition_for
from credit_service.application.faults import Abandoned, LedgerUnavailable, OffsetsMoved
from credit_service.application.ports import OffsetStore
from credit_service.application.process import Processor, Report
from credit_service.application.record import Record, read_record
from credit_service.application.timers import TimerSweep
from credit_service.domain.decision import Incoming, Place
from credit_service.kafka.connection import KafkaConnection
from credit_service.kafka.group_offsets import GroupOffsets
from credit_service.kafka.merge import Merge
from credit_service.kafka.opening import opening_positions
from credit_service.kafka.status import Status
from credit_service.kafka.subscriber import Subscriber
from credit_service.kafka.unreadable import UnreadableRuns

log = structlog.get_logger(__name__)

BUFFERED_PER_PARTITION_MAX = 600
BUFFERED_MAX = 32_000
BATCH_BYTES_MAX = 8 * 1024 * 1024
BLOCKED_WAIT_SECONDS = 0.01
IDLE_WAIT_SECONDS = 0.5
RETRY_SECONDS = 1.0
PAUSES_READ_EVERY_SECONDS = 2.0

Stored = Callable[[Report, int], None]
"""Called after each commit, with what became of the batch and how many records are known to wait."""


@dataclass(frozen=True, slots=True)
class IntakeBounds:
    """What a deployment may choose."""

    batch_records_max: int = 2_000
    unreadable_in_a_row_max: int = 1_000


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Reads the incoming topics into the ledger, in batches, until it is stopped.

    The ledger's offsets decide where reading goes on; Kafka's are committed after, for those who watch the lag.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        processor: Processor,
        offsets: OffsetStore,
        timers: TimerSweep,
        status: Status,
        stored: Stored,
        bounds: IntakeBounds,
    ) -> None:
        self._connection = connection
        self._processor = processor
        self._offsets = offsets
        self._timers = timers
        self._status = status
        self._stored = stored
        self._bounds = bounds
        self._subscriber = Subscriber(connection, self._feed, self, self._note_out_of_range)
        self._merge = Merge()
        self._received: dict[tuple[str, int], int] = {}
        self._unreadable = UnreadableRuns(bounds.unreadable_in_a_row_max)
        self._left_alone: set[TopicPartition] = set()
        self._group_offsets = GroupOffsets(processor.positions)
        self._out_of_range: set[TopicPartition] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._turn_lock = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._abandon = asyncio.Event()
        self._stopping = asyncio.Event()
        self._next_pauses = 0.0
        self._progress_at = time.monotonic()

    @property
    def progress_at(self) -> float:
        """When, on the monotonic clock, a batch was last decided, nothing waited, or the ledger was seen to be away."""
        return max(self._progress_at, self._processor.attempted_at)

    # --- the life of it

    async def start(self) -> None:
        """Joins the group; raises aiokafka's KafkaError if no broker answers."""
        self._status.set("partitions", "no partitions are assigned yet")
        await self._subscriber.start()

    async def run(self) -> None:
        """Takes turns until `stop` is called; ends between two batches."""
        while not self._stopping.is_set():
            try:
                worked = await self._take_turn()
            except Exception:  # a defect: nothing is committed, so nothing is lost by starting over
                log.exception("turn failed, reading again from what is stored")
                self._status.set("intake", "a turn failed and is tried again")
                self._open_again(self._subscriber.consumer.assignment())
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._status.set("intake", None)
            if not worked:
                await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        self._arrived.clear()
        blocked = any(map(self._merge.buffered, self._merge.partitions))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), BLOCKED_WAIT_SECONDS if blocked else IDLE_WAIT_SECONDS)

    def stop(self) -> None:
        """Lets the batch in hand be finished, and no other begin."""
        self._stopping.set()
        self._arrived.set()

    def abandon(self) -> None:
        """Gives up a batch that waits for the ledger; it stays uncommitted."""
        self._abandon.set()

    async def leave(self) -> None:
        """Commits what is stored, leaves the group, and drops what was buffered."""
        await self._cancel_opening()
        await self._group_offsets.commit(self._subscriber.consumer, at_once=True)
        await self._subscriber.stop()

    # --- what arrives

    def _feed(self, records: tuple[ConsumerRecord, ...]) -> None:
        try:
            for record in records:
                self._take_in(record)
        except Exception:  # whatever it is, FastStream would swallow it, and the records with it
            log.exception("records could not be taken in, reading them again")
            self._open_again({TopicPartition(r.topic, r.partition) for r in records})
        self._arrived.set()

    def _take_in(self, raw: ConsumerRecord) -> None:
        partition = (raw.topic, raw.partition)
        place = Place(raw.topic, raw.partition, raw.offset)
        event_type = self._connection.event_type(raw.topic)
        record = read_record(place, event_type, raw.key, raw.value, raw.headers, raw.timestamp)
        self._merge.feed(partition, (record,))
        self._received[partition] = raw.offset + 1
        if self._merge.buffered(partition) >= self._buffered_max():
            self._subscriber.consumer.pause(TopicPartition(*partition))

    def _buffered_max(self) -> int:
        """Of one partition: the more of them there are, the fewer records of each."""
        return min(BUFFERED_PER_PARTITION_MAX, BUFFERED_MAX // max(1, len(self._merge.partitions)))

    def _note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        self._out_of_range |= partitions
        self._arrived.set()

    # --- partitions come and go

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Waits for the batch in hand, or gives it up if the ledger is away; then forgets the partitions."""
        self._abandon.set()
        async with self._turn_lock:
            await self._cancel_opening()
            await self._group_offsets.commit(self._subscriber.consumer, at_once=True)
            self._forget(revoked)
            self._abandon.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begins to open the partitions; records flow once each stands at the ledger's offset."""
        self._open_again(assigned)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._merge.remove(partition)
            self._received.pop(partition, None)
            self._processor.positions.pop(partition, None)
            self._group_offsets.forget(partition)
            self._left_alone.discard(partition)
            self._out_of_range.discard(partition)
            self._timers.forget(partition.partition)
        self._subscriber.consumer.close_partitions(partitions)

    def _open_again(self, partitions: Collection[TopicPartition]) -> None:
        self._forget(partitions)
        if not partitions:
            return
        task = asyncio.create_task(self._open(set(partitions)))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _cancel_opening(self) -> None:
        tasks = list(self._opening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, partitions: set[TopicPartition]) -> None:
        while not await self._try_to_open(partitions):  # noqa: ASYNC110 - no event tells that a server is back
            await asyncio.sleep(RETRY_SECONDS)

    async def _try_to_open(self, partitions: set[TopicPartition]) -> bool:
        consumer = self._subscriber.consumer
        if not self._partition_counts_are_equal():
            return False
        try:
            paused = await self._offsets.paused_topics()
            self._leave_alone({p for p in partitions if p.topic in paused})
            partitions = {p for p in partitions if p.topic not in paused}
            positions = await opening_positions(consumer, self._offsets, partitions)
            for partition in partitions:
                offset = positions[partition.topic, partition.partition]
                consumer.open(partition, offset)
                consumer.resume(partition)
                self._processor.positions[partition] = offset
                self._received[partition] = offset
                self._merge.add(partition)
            # A crash may have come between the ledger's commit and Kafka's, with no further message to mend it.
            self._group_offsets.note_moved(partitions)
        except (KafkaError, LedgerUnavailable, TimeoutError) as error:
            self._status.set("partitions", "partitions could not be opened yet")
            log.warning("partitions could not be opened, trying again", cause=type(error).__name__)
            return False
        except IllegalStateError:
            return True  # taken away meanwhile; they are opened again when they come back
        self._status.set("partitions", None)
        log.info("partitions opened", partitions=len(partitions))
        return True

    def _partition_counts_are_equal(self) -> bool:
        consumer = self._subscriber.consumer
        counts = {t: len(consumer.partitions_for_topic(t) or ()) for t in self._connection.incoming_topics}
        if len(set(counts.values())) == 1 and all(counts.values()):
            self._timers.partitions = next(iter(counts.values()))
            return True
        told = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        if self._status.set("partitions", f"incoming topics have unequal partition counts: {told}"):
            log.error("incoming topics have unequal partition counts", **counts)
        return False

    # --- turns

    async def _take_turn(self) -> bool:
        """One batch of events or of timers; False if there was neither."""
        async with self._turn_lock:
            await self._read_pauses()
            self._look_for_brokers()
            at_end = await self._read_to_their_ends()
            records = self._merge.take(self._bounds.batch_records_max, BATCH_BYTES_MAX, at_end.__contains__)
            worked = False
            if records:
                await self._decide(records)
                worked = True
            if self._timers.is_time():
                worked |= await self._sweep(at_end)
            self._open_out_of_range()
            await self._group_offsets.commit(self._subscriber.consumer)
            self._resume_drained()
            if worked or not any(map(self._merge.buffered, self._merge.partitions)):
                self._progress_at = time.monotonic()
            return worked

    def _look_for_brokers(self) -> None:
        silent = self._subscriber.consumer.hears_nothing()
        if self._status.set("kafka", "no broker answers" if silent else None):
            log.warning("no broker answers" if silent else "brokers answer again")

    async def _read_to_their_ends(self) -> set[tuple[str, int]]:
        consumer = self._subscriber.consumer
        return {
            partition
            for partition in list(self._merge.partitions)
            if await consumer.is_read_to_its_end(TopicPartition(*partition), self._received.get(partition, 0))
        }

    async def _decide(self, records: list[Record]) -> None:
        partitions = {TopicPartition(r.place.topic, r.place.partition) for r in records}
        try:
            report = await self._processor.process(records, self._abandon)
        except Abandoned:
            self._open_again(partitions)
            return
        except OffsetsMoved:
            log.warning("stored offsets moved, reading again from there", partitions=len(partitions))
            self._open_again(partitions)
            return
        self._group_offsets.note_moved(partitions)
        report.misplaced = sum(map(self._is_misplaced, records))
        self._timers.note_decided(records, report)
        await self._pause_unreadable(records)
        self._tell(report)

    def _is_misplaced(self, record: Record) -> bool:
        """Whether the record lies in another partition than its account's; it is decided all the same."""
        if not isinstance(record.content, Incoming):
            return False
        key = record.content.account_id.encode()
        return key != record.key or partition_for(key, self._timers.partitions) != record.place.partition

    async def _sweep(self, at_end: set[tuple[str, int]]) -> bool:
        if self._opening:
            return False  # what lies in a partition that takes no part yet is not known
        numbers = self._merge.numbers()
        idle = {
            number
            for number in numbers
            if all(p in at_end and not self._merge.buffered(p) for p in self._merge.partitions if p[1] == number)
        }
        try:
            report = await self._timers.sweep(numbers, idle, self._abandon)
        except (Abandoned, LedgerUnavailable):
            return False
        if report is not None:
            self._tell(report)
        return report is not None

    def _open_out_of_range(self) -> None:
        """What had arrived before the log lost its place is decided first; then the gap is looked for."""
        self._open_again({partition for partition in self._out_of_range if not self._merge.buffered(partition)})

    def _resume_drained(self) -> None:
        consumer = self._subscriber.consumer
        for partition in consumer.paused():
            takes_part = partition in self._merge.partitions
            if takes_part and self._merge.buffered(partition) <= self._buffered_max() // 2:
                consumer.resume(partition)

    def _tell(self, report: Report) -> None:
        buffered = sum(self._merge.buffered(p) for p in self._merge.partitions)
        log.info(
            "batch",
            events=report.events,
            changes=report.changes,
            **{outcome.replace("-", "_"): count for outcome, count in report.outcomes.items() if count},
            dead_letters=sum(report.dead_letters.values()),
            misplaced=report.misplaced,
            retries=report.retries,
            buffered=buffered,
            **{f"{step}_ms": round(seconds * 1000, 1) for step, seconds in report.seconds.items()},
        )
        self._stored(report, buffered)

    # --- topics that bring nothing but unreadable messages

    async def _pause_unreadable(self, records: Iterable[Record]) -> None:
        for topic in self._unreadable.count(records):
            reason = f"{self._bounds.unreadable_in_a_row_max} unreadable messages in a row"
            log.error("topic paused", topic=topic, reason=reason)
            with contextlib.suppress(LedgerUnavailable):  # counted again with the next of them
                await self._offsets.pause_topic(topic, reason)
                self._next_pauses = 0.0

    async def _read_pauses(self) -> None:
        now = time.monotonic()
        if now < self._next_pauses:
            return
        self._next_pauses = now + PAUSES_READ_EVERY_SECONDS
        try:
            paused = await self._offsets.paused_topics()
        except LedgerUnavailable:
            return
        assigned = self._subscriber.consumer.assignment()
        self._leave_alone({p for p in assigned - self._left_alone if p.topic in paused})
        self._open_again({p for p in self._left_alone if p.topic not in paused})
        names = ", ".join(sorted(paused))
        self._status.set("topics", f"paused until `credits resume TOPIC`: {names}" if paused else None)

    def _leave_alone(self, partitions: Set[TopicPartition]) -> None:
        self._forget(partitions)
        self._subscriber.consumer.leave_alone(partitions)
        self._left_alone |= partitions

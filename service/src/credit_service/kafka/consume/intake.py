"""The intake: what arrives is buffered; a task a lane merges, decides, stores, and then commits Kafka's offsets."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from aiokafka import TopicPartition

from credit_service import bounds
from credit_service.application.errors import Abandoned, AccessDenied, LedgerUnavailable, OffsetsMoved
from credit_service.application.health_ports import LaneProgress
from credit_service.application.partitioning import account_partition
from credit_service.application.ports import OffsetStore
from credit_service.application.processing.arrival import LedgerClock
from credit_service.application.processing.chain import ChainBroken
from credit_service.application.processing.lane import Lane, Lanes
from credit_service.application.processing.poison_guard import PoisonGuard
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.report import Report
from credit_service.application.processing.timer_sweep import TIMER_GRACE, TimerSweep
from credit_service.application.readiness import Status
from credit_service.application.record import Record
from credit_service.application.tracing import UNTRACED, BatchTrace, Tracing
from credit_service.domain.event import Incoming
from credit_service.kafka.access.compacted_topics import CompactedTopics
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.lag import Lag, LagMeter
from credit_service.kafka.consume.member import Member
from credit_service.kafka.fetch.fetcher import Portion
from credit_service.kafka.fetch.records import read_item

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
READ_NOTED_EVERY_SECONDS = 2.0

Stored = Callable[[Report], None]
"""Called after each commit, with what became of the batch."""


@dataclass(frozen=True, slots=True)
class IntakeBounds:
    """What a deployment may choose."""

    batch_records_max: int = field(default_factory=lambda: bounds.BATCH_RECORDS_MAX)
    unreadable_in_a_row_max: int = 1_000


class Intake:
    """Reads the incoming topics into the ledger, in batches, until it is stopped.

    The ledger's offsets decide where reading goes on; Kafka's are committed after, for those who watch the lag.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        processor: Processor,
        offsets: OffsetStore,
        timers: Callable[[], TimerSweep],
        status: Status,
        stored: Stored,
        bounds: IntakeBounds,
        access: AccessWatch,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self._connection = connection
        self._processor = processor
        self._offsets = offsets
        self._status = status
        self._stored = stored
        self._bounds = bounds
        self._tracing = tracing
        self._poison_guard = PoisonGuard(bounds.unreadable_in_a_row_max)
        self._abandon = asyncio.Event()
        self._stopping = asyncio.Event()
        self._lanes = Lanes(timers, LedgerClock())
        self._member = Member(
            connection, self._feed, self._lanes, offsets, processor.positions, self._abandon, status, access
        )
        self._compacted = CompactedTopics(connection, status)
        self._lag = LagMeter(
            offsets,
            processor.positions,
            self._member.received,
            self._member.joined,
            self._member.transactions.hidden,
        )

    @property
    def buffered(self) -> int:
        """How many records were read and are not decided yet."""
        return self._lanes.buffered

    @property
    def retries(self) -> int:
        """How often a batch was tried again since the ledger was away."""
        return self._processor.retries

    @property
    def assigned(self) -> int:
        """How many partitions this member has."""
        return self._member.assigned

    # --- how it looks from outside

    async def measure_lag(self) -> None:
        """See `application.health_ports.IntakeSight`."""
        oldest_ms = {p: at for lane in self._lanes for p, at in lane.oldest_ms().items()}
        if self._member.is_in:
            await self._lag.measure(self._member.consumer, oldest_ms, self._member.held_by_strangers())

    def lag(self) -> dict[str, Lag] | None:
        """How far each topic, as the contracts know it, is behind, where that is known."""
        of_topics = self._lag.by_topic()
        if of_topics is None:
            return None
        return {self._connection.event_type(topic): lag for topic, lag in of_topics.items() if lag is not None}

    def lanes(self) -> dict[str, LaneProgress]:
        """See `application.health_ports.IntakeSight`."""
        return {
            lane.name: LaneProgress(
                self._member.is_rejoining or self._lag.is_behind(self._member.read_by(lane)), lane.decided_at
            )
            for lane in self._lanes
        }

    async def excuse(self) -> str | None:
        """See `application.health_ports.IntakeSight`."""
        return await self._member.excuse(is_told_of_all=not self._lag.untold)

    # --- the life of it

    async def start(self) -> None:
        """Joins the group; raises aiokafka's KafkaError if no broker answers."""
        await self._member.join()

    async def run(self) -> None:
        """Takes turns until `stop` is called; ends between two batches."""
        membership = [
            asyncio.create_task(self._member.stay_in()),
            asyncio.create_task(self._member.keep_group_offsets()),
            asyncio.create_task(self._compacted.keep_looking()),
        ]
        try:
            async with asyncio.TaskGroup() as lanes:
                for lane in self._lanes:
                    lanes.create_task(self._run(lane))
        finally:
            for task in membership:
                task.cancel()
            await asyncio.gather(*membership, return_exceptions=True)

    async def _run(self, lane: Lane) -> None:
        while not self._stopping.is_set():
            try:
                worked = await self._take_turn(lane)
            except Exception:  # a defect: nothing is committed, so nothing is lost by starting over
                log.exception("turn failed, reading again from what is stored")
                self._status.set(lane.name, "a turn failed and is tried again")
                self._member.open_again(self._member.assigned_to(lane))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._status.set(lane.name, None)
            if not worked:
                await lane.wait_for_work()

    def stop(self) -> None:
        """Lets the batches in hand be finished, and no other begin."""
        self._stopping.set()
        for lane in self._lanes:
            lane.ring()

    def abandon(self) -> None:
        """Gives up batches that wait for the ledger; they stay uncommitted."""
        self._abandon.set()

    async def leave(self) -> None:
        """Commits what is stored, leaves the group, and drops what was buffered."""
        await self._member.leave()

    # --- what arrives

    def _feed(self, portions: tuple[Portion, ...]) -> None:
        partitions = {portion.partition for portion in portions}
        try:
            for portion in portions:
                self._take_in(portion)
            self._member.pause_full()
        except Exception:  # whatever it is, FastStream would swallow it, and the records with it
            log.exception("records could not be taken in, reading them again")
            self._member.open_again(partitions)
        self._lanes.ring(partitions)

    def _take_in(self, portion: Portion) -> None:
        event_type = self._connection.event_type(portion.partition.topic)
        records = [read_item(portion.partition, event_type, item) for item in portion.records]
        self._lanes.of(portion.partition).merge.feed(portion.partition, self._member.chained(portion, records))

    # --- turns

    async def _take_turn(self, lane: Lane) -> bool:
        """One batch of events or of timers; False if there was neither."""
        async with lane.in_hand:
            if not self._member.is_in:
                return False
            await self._member.read_pauses(lane)
            if not await self._member.look_for_lost_commits(lane):
                return False
            # What was counted before a topic was paused, by whichever member, says nothing of it any more.
            self._poison_guard.forget(self._member.left_alone_topics)
            self._member.look_for_brokers()
            self._member.look_for_topics_made_anew(lane)
            at_end = await self._member.read_to_their_ends(lane)
            records = lane.merge.take(self._bounds.batch_records_max, bounds.BATCH_BYTES_MAX, at_end.__contains__)
            worked = False
            if records:
                lane.taken = records
                try:
                    with self._tracing.batch(records) as trace:
                        await self._decide(lane, records, trace)
                finally:
                    lane.taken = ()
                worked = True
            if lane.timers.is_time():
                worked |= await self._sweep(lane)
            self._member.open_out_of_range(lane)
            await self._member.look_after_held(lane)
            self._member.go_on_with_drained(lane)
            return worked

    async def _decide(self, lane: Lane, records: list[Record], trace: BatchTrace) -> None:
        partitions = {TopicPartition(*partition) for partition in {r.place[:2] for r in records}}
        try:
            report = await self._processor.process(
                records, self._abandon, trace, lane.note_decided, self._member.grounds_of(lane)
            )
        except Abandoned:
            self._member.open_again(partitions)
            return
        except ChainBroken as error:
            log.error("messages are missing between what is stored and what came, reading again", cause=str(error))
            self._member.open_again(partitions)
            return
        except OffsetsMoved:
            log.warning("stored offsets moved, reading again from there", partitions=len(partitions))
            self._member.open_again(partitions)
            return
        self._member.group_offsets.note_moved(partitions)
        count = lane.timers.partitions
        report.misplaced = Counter(r.place.topic for r in records if _is_misplaced(r, count))
        lane.timers.note_decided(report)
        await self._pause_flooded(records, report)
        self._tell(report)

    async def _sweep(self, lane: Lane) -> bool:
        # A batch may have taken long: what had been read to its end before it need not be so any more.
        at_end = await self._member.read_to_their_ends(lane)
        # What lies in a partition that takes no part yet is not known, nor which plans lie in one that is held back.
        merge, unknown = lane.merge, self._member.opening | self._member.numbers_without_plans()
        numbers = [number for number in merge.numbers() if number not in unknown]
        known = [number for number in numbers if merge.knows_what_comes(number, at_end.__contains__)]
        earliest = {number: merge.earliest(number) for number in known}
        for number, at in earliest.items():
            now = self._lanes.clock.now()
            # What is read to its end may get more from there on that occurred up to the grace before.
            if (reached := at or (now and now - TIMER_GRACE)) is not None:
                lane.timers.note_reached(number, reached)
        try:
            await self._note_read(lane, earliest)
            at_their_ends = {number for number, at in earliest.items() if at is None}
            report = await lane.timers.sweep(numbers, at_their_ends, self._abandon, self._member.grounds_of(lane))
        except AccessDenied as error:
            if self._status.set(f"timers of {lane.name}", f"they wait: {error}"):
                log.warning("timers wait, access is denied", cause=str(error))
            return False
        except (Abandoned, LedgerUnavailable, OffsetsMoved):
            return False
        self._status.set(f"timers of {lane.name}", None)
        if report is not None:
            self._tell(report)
        return report is not None

    async def _note_read(self, lane: Lane, until: Mapping[int, datetime | None]) -> None:
        """Tells those who order something how far the events of their accounts are read."""
        now = time.monotonic()
        if until and now >= lane.next_noted:
            self._lanes.clock.note(await self._offsets.note_read(until, lane.timers.partitions))
            lane.next_noted = now + READ_NOTED_EVERY_SECONDS

    def _tell(self, report: Report) -> None:
        log.info(
            "batch",
            events=report.events,
            changes=report.changes,
            **{outcome.replace("-", "_"): count for outcome, count in report.outcomes.items() if count},
            dead_letters=sum(report.dead_letters.values()),
            misplaced=report.misplaced.total(),
            retries=report.retries,
            buffered=self.buffered,
            **{f"{step}_ms": round(seconds * 1000, 1) for step, seconds in report.seconds.items()},
        )
        for topic, count in report.left_out.items():
            log.warning("dead letters are kept without their bytes", topic=topic, letters=count)
        self._stored(report)

    async def _pause_flooded(self, records: Iterable[Record], report: Report) -> None:
        """A topic that brings nothing but what is unreadable or refused is left alone by all members."""
        for topic, reason in self._poison_guard.count(records, report.became_letters).items():
            with contextlib.suppress(LedgerUnavailable):  # it is over with the next bad one as well
                await self._offsets.pause_topic(topic, reason)
                log.error("topic paused", topic=topic, reason=reason)
                self._poison_guard.forget([topic])
                for lane in self._lanes:
                    lane.next_pauses = 0.0


def _is_misplaced(record: Record, partitions: int) -> bool:
    """Whether the record lies in another partition than its account's; it is decided all the same."""
    if not isinstance(record.content, Incoming):
        return False
    key = record.content.account_id.encode()
    return key != record.key or account_partition(key, partitions) != record.place.partition

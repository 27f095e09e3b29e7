"""The turns of the lanes: each takes one batch, decides and stores it, and then wakes the timers that are due."""

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
from credit_service.application.partitioning import account_partition
from credit_service.application.ports import OffsetStore
from credit_service.application.processing.chain import ChainBroken
from credit_service.application.processing.lane import Lane
from credit_service.application.processing.poison_guard import PoisonGuard
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.report import Report
from credit_service.application.processing.timer_sweep import TIMER_GRACE
from credit_service.application.readiness import Status
from credit_service.application.record import Record
from credit_service.application.tracing import BatchTrace, Tracing
from credit_service.domain.event import Incoming
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState
from credit_service.kafka.consume.upkeep import Upkeep

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
READ_NOTED_EVERY_SECONDS = 2.0

Stored = Callable[[Report], None]
"""Called after each commit with the report of the batch."""


@dataclass(frozen=True, slots=True)
class IntakeBounds:
    """The bounds that a deployment may choose."""

    batch_records_max: int = field(default_factory=lambda: bounds.BATCH_RECORDS_MAX)
    unreadable_in_a_row_max: int = 1_000


class Turns:
    """Takes turns for a lane, until `stopping` is set; `abandon` gives up a batch that waits for the ledger."""

    def __init__(
        self,
        state: ReadState,
        opener: PartitionOpener,
        upkeep: Upkeep,
        processor: Processor,
        offsets: OffsetStore,
        stopping: asyncio.Event,
        abandon: asyncio.Event,
        status: Status,
        stored: Stored,
        bounds: IntakeBounds,
        tracing: Tracing,
    ) -> None:
        self._state = state
        self._opener = opener
        self._upkeep = upkeep
        self._processor = processor
        self._offsets = offsets
        self._stopping = stopping
        self._abandon = abandon
        self._status = status
        self._stored = stored
        self._bounds = bounds
        self._tracing = tracing
        self._poison_guard = PoisonGuard(bounds.unreadable_in_a_row_max)

    async def run(self, lane: Lane) -> None:
        """Takes turns of the lane; ends between two batches."""
        while not self._stopping.is_set():
            try:
                worked = await self._take_turn(lane)
            except Exception:  # a defect: nothing is committed, so nothing is lost by starting over
                log.exception("turn failed, reading again from what is stored")
                self._status.set(lane.name, "a turn failed and is tried again")
                self._opener.open_again(self._state.assigned_to(lane))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._status.set(lane.name, None)
            if not worked:
                await lane.wait_for_work()

    async def _take_turn(self, lane: Lane) -> bool:
        """Decides one batch of events, and one of timers; False if there was neither."""
        async with lane.in_hand:
            if not self._state.membership.is_in or not await self._upkeep.before_batch(lane):
                return False
            # The counts from before a topic was paused, by whichever member, do not count any more.
            self._poison_guard.forget(self._state.suspended_topics)
            at_end = await self._state.read_to_their_ends(lane)
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
            await self._upkeep.after_batch(lane)
            return worked

    async def _decide(self, lane: Lane, records: list[Record], trace: BatchTrace) -> None:
        partitions = {TopicPartition(*partition) for partition in {r.place[:2] for r in records}}
        is_same_server = self._upkeep.lost_commits.same_server(lane)
        try:
            report = await self._processor.process(records, self._abandon, trace, lane.note_decided, is_same_server)
        except Abandoned:
            self._opener.open_again(partitions)
            return
        except ChainBroken as error:
            log.error("messages are missing after the stored offset, reading again", cause=str(error))
            self._opener.open_again(partitions)
            return
        except OffsetsMoved:
            log.warning("stored offsets moved, reading again from there", partitions=len(partitions))
            self._opener.open_again(partitions)
            return
        self._state.group_offsets.note_moved(partitions)
        count = lane.timers.partitions
        report.misplaced = Counter(r.place.topic for r in records if _is_misplaced(r, count))
        lane.timers.note_decided(report)
        await self._pause_flooded(records, report)
        self._report(report)

    async def _sweep(self, lane: Lane) -> bool:
        # The batch may have taken long: a partition that was read to its end before may have more records now.
        at_end = await self._state.read_to_their_ends(lane)
        # The records of partitions that are being opened are unknown, and so are the plans in those that are held.
        merge, unknown = lane.merge, self._opener.opening | self._state.numbers_without_plans()
        numbers = [number for number in merge.numbers() if number not in unknown]
        known = [number for number in numbers if merge.knows_what_comes(number, at_end.__contains__)]
        earliest = {number: merge.earliest(number) for number in known}
        for number, at in earliest.items():
            now = self._state.lanes.clock.now()
            # A number that is read to its end may still get events that occurred up to the grace before now.
            if (reached := at or (now and now - TIMER_GRACE)) is not None:
                lane.timers.note_reached(number, reached)
        try:
            await self._note_read(lane, earliest)
            at_their_ends = {number for number, at in earliest.items() if at is None}
            is_same_server = self._upkeep.lost_commits.same_server(lane)
            report = await lane.timers.sweep(numbers, at_their_ends, self._abandon, is_same_server)
        except AccessDenied as error:
            if self._status.set(f"timers of {lane.name}", f"they wait: {error}"):
                log.warning("timers wait, access is denied", cause=str(error))
            return False
        except (Abandoned, LedgerUnavailable, OffsetsMoved):
            return False
        self._status.set(f"timers of {lane.name}", None)
        if report is not None:
            self._report(report)
        return report is not None

    async def _note_read(self, lane: Lane, until: Mapping[int, datetime | None]) -> None:
        """Stores until when the events of each number are read; commands of operators wait for that."""
        now = time.monotonic()
        if until and now >= lane.next_noted:
            self._state.lanes.clock.note(await self._offsets.note_read(until, lane.timers.partitions))
            lane.next_noted = now + READ_NOTED_EVERY_SECONDS

    def _report(self, report: Report) -> None:
        log.info(
            "batch",
            events=report.events,
            changes=report.changes,
            **{outcome.replace("-", "_"): count for outcome, count in report.outcomes.items() if count},
            dead_letters=sum(report.dead_letters.values()),
            misplaced=report.misplaced.total(),
            retries=report.retries,
            buffered=self._state.lanes.buffered,
            **{f"{step}_ms": round(seconds * 1000, 1) for step, seconds in report.seconds.items()},
        )
        for topic, count in report.left_out.items():
            log.warning("dead letters are kept without their bytes", topic=topic, letters=count)
        self._stored(report)

    async def _pause_flooded(self, records: Iterable[Record], report: Report) -> None:
        """Pauses, for all members, a topic whose records are unreadable or refused one after the other."""
        for topic, reason in self._poison_guard.count(records, report.became_letters).items():
            with contextlib.suppress(LedgerUnavailable):  # the next bad record pauses it as well
                await self._offsets.pause_topic(topic, reason)
                log.error("topic paused", topic=topic, reason=reason)
                self._poison_guard.forget([topic])
                for lane in self._state.lanes:
                    lane.next_pauses = 0.0


def _is_misplaced(record: Record, partitions: int) -> bool:
    """Whether the record is in another partition than its account's; it is decided all the same."""
    if not isinstance(record.content, Incoming):
        return False
    key = record.content.account_id.encode()
    return key != record.key or account_partition(key, partitions) != record.place.partition

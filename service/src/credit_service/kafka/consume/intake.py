"""The intake: buffers the records that arrive, and decides them in batches, one lane beside the other."""

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import TopicPartition

from credit_service.application.health_ports import LaneProgress
from credit_service.application.ports import OffsetStore
from credit_service.application.processing.arrival import LedgerClock
from credit_service.application.processing.lane import Lanes
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.timer_sweep import TimerSweep
from credit_service.application.readiness import Status
from credit_service.application.tracing import UNTRACED, Tracing
from credit_service.kafka.access.compacted_topics import CompactedTopics
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.assignment import Assignment
from credit_service.kafka.consume.lag import Lag, LagMeter
from credit_service.kafka.consume.member import Member
from credit_service.kafka.consume.membership import Membership
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState
from credit_service.kafka.consume.turns import IntakeBounds, Stored, Turns
from credit_service.kafka.consume.upkeep import Upkeep
from credit_service.kafka.fetch.portions import Portion
from credit_service.kafka.fetch.records import read_item

log = structlog.get_logger(__name__)


class Intake:
    """Reads the incoming topics into the ledger, in batches, until it is stopped; owns the buffers, which are lanes.

    Reading goes on at the ledger's offsets; Kafka's are committed after them, for lag monitors.
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
        self._access = access
        self._abandon = asyncio.Event()
        self._stopping = asyncio.Event()
        self._lanes = Lanes(timers, LedgerClock())
        self._membership = Membership()
        self._state = ReadState(connection, self._membership, self._lanes, processor.positions, status)
        self._opener = PartitionOpener(connection, self._state, offsets, access, status)
        self._upkeep = Upkeep(connection, self._state, self._opener, offsets, access, status)
        self._member = Member(
            connection, self._feed, self._state, Assignment(self._state, self._opener, self._abandon), access, status
        )
        self._turns = Turns(
            self._state,
            self._opener,
            self._upkeep,
            processor,
            offsets,
            self._stopping,
            self._abandon,
            status,
            stored,
            bounds,
            tracing,
        )
        self._compacted = CompactedTopics(connection, status)
        self._lag = LagMeter(
            offsets, processor.positions, self._state.received, self._state.joined, self._state.transactions.behind
        )

    @property
    def buffered(self) -> int:
        """The number of records that were read and are not decided yet."""
        return self._lanes.buffered

    @property
    def retries(self) -> int:
        """How often a batch was tried again because the ledger was away."""
        return self._processor.retries

    @property
    def assigned(self) -> int:
        """The number of partitions that this member has."""
        return self._membership.assigned

    # --- its health, see `application.health_ports.IntakeProbe`

    async def measure_lag(self) -> None:
        """Measures how far the ledger is behind Kafka."""
        oldest_ms = {p: at for lane in self._lanes for p, at in lane.oldest_ms().items()}
        if self._membership.is_in:
            await self._lag.measure(self._membership.consumer, oldest_ms, self._held_by_foreign_members())

    def _held_by_foreign_members(self) -> set[TopicPartition]:
        """The partitions that no member of this service has, if it is this member that measures their lag."""
        consumer = self._membership.consumer
        known = {
            TopicPartition(topic, number)
            for topic in self._connection.incoming_topics
            for number in consumer.partitions_for_topic(topic) or ()
        }
        return self._access.foreign_members.counted_by(self._membership.member_id, known - consumer.assignment())

    def lag(self) -> dict[str, Lag] | None:
        """The lag of each topic, by the name in the contracts, where it is known."""
        of_topics = self._lag.by_topic()
        if of_topics is None:
            return None
        return {self._connection.event_type(topic): lag for topic, lag in of_topics.items() if lag is not None}

    def lanes(self) -> dict[str, LaneProgress]:
        """The progress of each lane, by its name."""
        return {
            lane.name: LaneProgress(
                self._membership.is_rejoining or self._lag.is_behind(self._state.read_by(lane)), lane.decided_at
            )
            for lane in self._lanes
        }

    async def excuse(self) -> str | None:
        """Why nothing is decided, if Kafka is the reason."""
        return await self._upkeep.brokers.excuse(knows_all_ends=not self._lag.without_end)

    # --- from start to end

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
                    lanes.create_task(self._turns.run(lane))
        finally:
            for task in membership:
                task.cancel()
            await asyncio.gather(*membership, return_exceptions=True)

    def stop(self) -> None:
        """Finishes the batches in hand, and begins no other."""
        self._stopping.set()
        for lane in self._lanes:
            lane.notify()

    def abandon(self) -> None:
        """Gives up batches that wait for the ledger; they stay uncommitted."""
        self._abandon.set()

    async def leave(self) -> None:
        """Commits the stored offsets, leaves the group, and drops what was buffered."""
        await self._member.leave()

    # --- records that arrive

    def _feed(self, portions: tuple[Portion, ...]) -> None:
        partitions = {portion.partition for portion in portions}
        try:
            for portion in portions:
                self._take_in(portion)
            self._upkeep.backpressure.pause_full()
        except Exception:  # FastStream would swallow any error, and lose the records
            log.exception("records could not be buffered, reading them again")
            self._opener.open_again(partitions)
        self._lanes.notify(partitions)

    def _take_in(self, portion: Portion) -> None:
        event_type = self._connection.event_type(portion.partition.topic)
        records = [read_item(portion.partition, event_type, item) for item in portion.records]
        self._lanes.of(portion.partition).merge.feed(portion.partition, self._state.chained(portion, records))

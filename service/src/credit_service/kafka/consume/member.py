"""The member of the consumer group: which partitions it has, and from where each is read."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Set
from typing import TYPE_CHECKING

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, InvalidSessionTimeoutError, KafkaError

from credit_service.application import ports
from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.application.ports import OffsetStore, Positions
from credit_service.application.processing.chain import ChainBroken, join
from credit_service.application.processing.lane import Lane, Lanes
from credit_service.application.readiness import Status
from credit_service.application.record import Record
from credit_service.domain.event import PLAN_CHANGED
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.access.probe import inspect
from credit_service.kafka.access.topic_ids import made_anew
from credit_service.kafka.connect.acls import on_topics
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, describe
from credit_service.kafka.consume.consumer import HandOverConsumer
from credit_service.kafka.consume.group_offsets import GroupOffsets
from credit_service.kafka.consume.held_partitions import HeldPartitions
from credit_service.kafka.consume.open_transactions import OpenTransactions
from credit_service.kafka.consume.predecessor import Predecessors
from credit_service.kafka.consume.start_positions import opening_positions
from credit_service.kafka.consume.subscriber import Feed, Subscriber
from credit_service.kafka.fetch.fetcher import Fault, Portion

if TYPE_CHECKING:
    from uuid import UUID

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
ANSWER_SECONDS_MAX = 10.0
PAUSES_READ_EVERY_SECONDS = 2.0
STORED_READ_EVERY_SECONDS = 5.0
# Longer than Kafka gives a member that is not heard of, and than a rebalance.
CUT_OFF_SECONDS = 60.0


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Opens partitions at the ledger's offsets, and forgets them when they go; `positions` are the ledger's.

    `feed` gets what arrives. `abandon` is set while partitions are revoked, and gives up a batch that waits for the
    ledger.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        feed: Feed,
        lanes: Lanes,
        offsets: OffsetStore,
        positions: Positions,
        abandon: asyncio.Event,
        status: Status,
        access: AccessWatch,
    ) -> None:
        self.group_offsets = GroupOffsets(positions)
        self.received: dict[ports.TopicPartition, int] = {}
        self.joined: dict[ports.TopicPartition, int] = {}
        self._topic_ids: dict[ports.TopicPartition, UUID] = {}
        self.is_rejoining = False
        self._connection = connection
        self._lanes = lanes
        self._offsets = offsets
        self._positions = positions
        self._abandon = abandon
        self._status = status
        self._feed = feed
        self._access = access
        self._predecessors = Predecessors(connection)
        self._has_longer_sessions = False
        self._subscriber: Subscriber | None = None
        self._is_broken = False
        self._left_alone: set[TopicPartition] = set()
        self._out_of_range: set[TopicPartition] = set()
        self._held = HeldPartitions(status)
        self.transactions = OpenTransactions(status)
        self._opening: dict[asyncio.Task[None], Set[int]] = {}
        self._counts_differ = False

    @property
    def consumer(self) -> HandOverConsumer:
        """The consumer of the running subscriber."""
        if self._subscriber is None:
            raise RuntimeError("the member is not in the group")
        return self._subscriber.consumer

    @property
    def assigned(self) -> int:
        """How many partitions this member has; none before it has joined."""
        return len(self.consumer.assignment()) if self.is_in else 0

    @property
    def is_in(self) -> bool:
        """Whether it is in the group, or about to be; while it is not, there is nothing to do."""
        return self._subscriber is not None and self._subscriber.is_running

    @property
    def opening(self) -> set[int]:
        """The partition numbers of which it is not known yet what lies in them."""
        return {number for numbers in self._opening.values() for number in numbers}

    async def join(self) -> None:
        """Joins the group; raises aiokafka's KafkaError if no broker answers, or it is not let in."""
        self._status.set("partitions", "no partitions are assigned yet")
        self._is_broken = False
        self._subscriber = Subscriber(
            self._connection, self._feed, self, self, has_longer_sessions=self._has_longer_sessions
        )
        try:
            async with self._predecessors.replaced():
                await self._subscriber.start()
        except BaseException as error:
            await self._drop()
            if isinstance(error, InvalidSessionTimeoutError) and not self._has_longer_sessions:
                log.warning("brokers take no session as short, joining with a longer one", cause=describe(error))
                self._has_longer_sessions = True
            raise

    async def leave(self) -> None:
        """Commits what is stored, and leaves the group, or leaves it to the next start to take it out."""
        await self._cancel_opening()
        if self._subscriber is not None and self.is_in:
            await self.group_offsets.commit(self.consumer)
            if await self._predecessors.is_to_be_taken_out():
                self.consumer.stay_in_the_group()
            await self._subscriber.stop()

    async def keep_group_offsets(self) -> None:
        """Lets Kafka know how far the ledger has come. Ends only when it is cancelled."""
        while True:
            try:
                await self.group_offsets.keep_up(lambda: self.consumer if self.is_in else None)
            except Exception:  # a defect must not leave lag monitors blind for good
                log.exception("Kafka's offsets could not be looked after, trying again")
                await asyncio.sleep(RETRY_SECONDS)

    # --- in the group, or not

    async def stay_in(self) -> None:
        """Leaves the group when Kafka refuses it, and joins again once that is mended, from what the ledger says.

        Ends only when it is cancelled.
        """
        while True:
            try:
                await self._access.until_time()
                await self._access.ask()
                if self.is_in and (why := self._why_it_has_to_leave()):
                    await self._drop()
                    log.warning("left the group", cause=why)
                    await asyncio.sleep(RETRY_SECONDS)
                if not self.is_in and not self._access.reading:
                    await self._join_again()
            except Exception:  # a defect must not leave it out for good
                log.exception("membership could not be looked after, trying again")
                await asyncio.sleep(RETRY_SECONDS)

    def _why_it_has_to_leave(self) -> str | None:
        if self._is_broken:
            return "the group was lost"
        if self._access.reading and self.hears_nothing:
            return "Kafka refuses what is needed to read"
        if self.is_cut_off:
            return "the group, which is well, takes nothing from this member"
        return None

    @property
    def hears_nothing(self) -> bool:
        """Whether no broker has answered lately, or partitions cannot be opened."""
        return bool(self._opening) or self.consumer.hears_nothing()

    @property
    def is_cut_off(self) -> bool:
        """Whether the group, whose coordinator answers others, has taken nothing from this member for long.

        It would read on from partitions that Kafka gave to others, and never hear of new ones.
        """
        is_failing = not self.is_rejoining and self.group_offsets.failing_seconds > CUT_OFF_SECONDS
        return is_failing and self._access.is_coordinated

    async def _drop(self) -> None:
        """Out of the group, with nothing buffered."""
        self.is_rejoining = True
        self._status.set("partitions", "out of the group, and trying to join again")
        self._status.set("kafka", None)
        self._abandon.set()
        async with self._lanes.at_rest():
            self._abandon.clear()
            await self._cancel_opening()
            if self.is_in:
                buffered = {TopicPartition(*partition) for lane in self._lanes for partition in lane.merge.partitions}
                self._forget(buffered | self._left_alone | self.consumer.assignment())
                self._held.forget(list(self._held))
                self.group_offsets.begin_anew()
            subscriber, self._subscriber = self._subscriber, None
        # Not while lanes are at rest: a revoke that is under way would wait for them.
        if subscriber is not None:
            await subscriber.stop()

    async def _join_again(self) -> None:
        try:
            await self.join()
        except (KafkaError, TimeoutError, OSError) as error:
            if self._status.set("partitions", f"the group could not be joined yet: {describe(error)}"):
                log.warning("the group could not be joined, trying again", cause=describe(error))
            await asyncio.sleep(RETRY_SECONDS)
            self._access.suspect()
        else:
            log.info("joined the group again")

    def note_broken(self, error: KafkaError) -> None:
        """See `consumer.Faults`."""
        if not self._is_broken:
            log.warning("the group was lost", cause=describe(error))
        self._is_broken = True
        self._access.suspect()

    # --- partitions come and go

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Waits for the batches in hand, or gives them up if the ledger is away; then forgets the partitions."""
        self._abandon.set()
        self.is_rejoining = True
        self._status.set("partitions", "partitions are being shared out anew")
        async with self._lanes.at_rest():
            if self.is_in:
                await self._cancel_opening()
                await self.group_offsets.commit(self.consumer)
                self._forget(revoked)
                self._held.forget(revoked)
                self.group_offsets.begin_anew()
            self._abandon.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begins to open the partitions; records flow once each stands at the ledger's offset."""
        self.is_rejoining = False
        if not assigned:
            # More members than partitions: this one is well, and takes over once another goes.
            log.info("stands by, the other members have all partitions")
            self._status.set("partitions", None)
        self.open_again(assigned)

    def assigned_to(self, lane: Lane) -> set[TopicPartition]:
        """What this member has of the lane's partitions."""
        assigned = self.consumer.assignment() if self.is_in else ()
        return {partition for partition in assigned if self._lanes.of(partition) is lane}

    def read_by(self, lane: Lane) -> set[TopicPartition]:
        """Those of them that are neither left alone nor held."""
        return self.assigned_to(lane) - self._left_alone - set(self._held)

    def open_again(self, partitions: Collection[TopicPartition]) -> None:
        """Drops what is known of the partitions, and reads on from what the ledger says."""
        if not self.is_in:
            return  # all is forgotten already
        self._forget(partitions)
        if partitions:
            self._begin_to_open(set(partitions))

    def _begin_to_open(self, partitions: set[TopicPartition]) -> None:
        task = asyncio.create_task(self._open(partitions))
        self._opening[task] = {partition.partition for partition in partitions}
        task.add_done_callback(self._no_longer_opening)

    def _no_longer_opening(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            self._opening.pop(task, None)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            lane = self._lanes.of(partition)
            lane.merge.remove(partition)
            lane.timers.forget(partition.partition)
            self.transactions.forget(partition)
            self.received.pop(partition, None)
            self.joined.pop(partition, None)
            self._topic_ids.pop(partition, None)
            self._positions.pop(partition, None)
            self.group_offsets.forget(partition)
            self._left_alone.discard(partition)
            self._out_of_range.discard(partition)
        self.consumer.close_partitions(partitions)

    async def _cancel_opening(self) -> None:
        tasks = list(self._opening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, partitions: set[TopicPartition]) -> None:
        # No event tells that a server is back.
        while not (self._partition_counts_are_equal() and await self._try_to_open(partitions)):  # noqa: ASYNC110
            await asyncio.sleep(RETRY_SECONDS)
        # Not only once it is done: another may end in the same turn of the loop, and each would wait for the other.
        self._no_longer_opening(asyncio.current_task())
        if not self._opening and not self.is_rejoining:
            self._status.set("partitions", None)

    async def _try_to_open(self, partitions: set[TopicPartition]) -> bool:
        """Whether nothing is left to be done for these by who asks."""
        consumer = self.consumer
        try:
            paused = await self._offsets.paused_topics()
            self._leave_alone({p for p in partitions if p.topic in paused})
            partitions = {p for p in partitions if p.topic not in paused}
            topic_ids = await self._access.ask_for_topic_ids()
            self._lanes.clock.note(await self._offsets.note_read({}, 1))
            positions = await opening_positions(consumer, self._offsets, partitions, topic_ids)
            for partition in partitions:
                offset = positions[partition.topic, partition.partition]
                if partition.topic in topic_ids:
                    self._topic_ids[partition] = topic_ids[partition.topic]
                consumer.open(partition, offset)
                consumer.resume(partition)
                self._positions[partition] = offset
                self.received[partition] = self.joined[partition] = offset
                self._lanes.of(partition).merge.add(partition)
            # A crash may have come between the ledger's commit and Kafka's, with no further message to mend it.
            self.group_offsets.note_moved(partitions)
        except LedgerUnavailable as error:
            self._tell_unopened(error, f": {error}" if isinstance(error, AccessDenied) else "")
            return False
        except (KafkaError, TimeoutError) as error:
            self._tell_unopened(error)
            self._access.suspect()
            return self._take_apart(partitions)
        except IllegalStateError:
            return True  # taken away meanwhile; they are opened again when they come back
        log.info("partitions opened", partitions=len(partitions))
        return True

    def _tell_unopened(self, error: Exception, why: str = "") -> None:
        self._status.set("partitions", f"partitions could not be opened yet{why}")
        log.warning("partitions could not be opened, trying again", cause=f"{type(error).__name__}{why}")

    def _take_apart(self, partitions: set[TopicPartition]) -> bool:
        """Each number by itself from now on, so that one without a leader does not hold up the others.

        False for one alone: it is to be tried again.
        """
        numbers = {partition.partition for partition in partitions}
        if len(numbers) <= 1:
            return False
        for number in numbers:
            self._begin_to_open({partition for partition in partitions if partition.partition == number})
        return True

    def _partition_counts_are_equal(self) -> bool:
        consumer = self.consumer
        counts = {t: len(consumer.partitions_for_topic(t) or ()) for t in self._connection.incoming_topics}
        self._counts_differ = len(set(counts.values())) > 1 or not all(counts.values())
        if not self._counts_differ:
            for lane in self._lanes:
                lane.timers.partitions = next(iter(counts.values()))
            return True
        listed = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        if self._status.set("partitions", f"incoming topics have unequal partition counts: {listed}"):
            log.error("incoming topics have unequal partition counts", **counts)
            # Also what looks like this: a topic that may not be read any more has no partitions.
            self._access.suspect()
        return False

    def chained(self, portion: Portion, records: list[Record]) -> list[Record]:
        """The records of a portion, joined to what came before; none of a partition that is not open.

        Raises `ChainBroken` if something is missing before them.
        """
        at = portion.partition
        if at not in self.received:
            return []
        if portion.begin != self.received[at]:
            raise ChainBroken(at, self.received[at], portion.begin)
        self.received[at] = portion.until
        join(records, self.joined.get(at, portion.begin), portion.until)
        if records:
            self.joined[at] = portion.until
        return records

    # --- how far each has come

    async def read_to_their_ends(self, lane: Lane) -> set[ports.TopicPartition]:
        """The lane's partitions of which nothing is on its way, or nothing that a transaction does not hold back."""
        partitions = {partition: TopicPartition(*partition) for partition in lane.merge.partitions}
        self.transactions.look({partition: self.consumer.ends(at) for partition, at in partitions.items()})
        not_waited_for = self.transactions.not_waited_for()
        return {
            partition
            for partition, at in partitions.items()
            if await self.consumer.is_read_to_its_end(
                at, self.received.get(partition, 0), waits_for_transactions=partition not in not_waited_for
            )
        }

    def pause_full(self) -> None:
        """Fetches no more of partitions that have their share buffered."""
        for lane in self._lanes:
            self.consumer.pause(*(TopicPartition(*partition) for partition in lane.merge.full()))

    def go_on_with_drained(self, lane: Lane) -> None:
        """Fetches again what was paused, once half of the share is decided."""
        full = (self.consumer.paused() & lane.merge.partitions) - self._held.standing() - self._out_of_range
        if full:
            self.consumer.resume(*(full - lane.merge.not_drained()))

    def look_for_brokers(self) -> None:
        """Says so when no broker answers any more, and when one does again."""
        # Who stands by fetches nothing that could go unanswered.
        silent = self.consumer.hears_nothing() or not (self._access.is_answered or self.consumer.fetches)
        if self._status.set("kafka", "no broker answers" if silent else None):
            log.warning("no broker answers" if silent else "brokers answer again")
            self._access.suspect()

    async def excuse(self, is_told_of_all: bool) -> str | None:
        """Why nothing comes on, if that is no fault of this member: refused, topics uneven, no broker, no leader.

        A broker that this member does not hear, and that answers somebody else, is no excuse. `is_told_of_all`: Kafka
        says of each partition how far it goes.
        """
        if self._access.reading:
            return "Kafka refuses what is needed to read"
        if self._counts_differ:
            return "incoming topics have unequal partition counts"
        if is_told_of_all and self.is_in and not self.consumer.hears_nothing():
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                seen = await inspect(self._connection, on_topics(self._connection.incoming_topics, "describe"))
        except (BrokerUnavailable, TimeoutError) as error:
            return str(error) or "no broker answers"
        return f"partitions have no leader: {', '.join(seen.leaderless)}" if seen.leaderless else None

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        """See `consumer.Faults`."""
        self._out_of_range |= partitions
        self._lanes.ring(partitions)

    def open_out_of_range(self, lane: Lane) -> None:
        """What had arrived before the log lost its place is decided first; then the gap is looked for."""
        mine = {partition for partition in self._out_of_range if self._lanes.of(partition) is lane}
        self.open_again({partition for partition in mine if not lane.merge.has(partition)})

    def look_for_topics_made_anew(self, lane: Lane) -> None:
        """Fetches no more from partitions whose topic is another one by now; they are opened again as those above."""
        gone = made_anew(self._topic_ids, self._access.topic_ids)
        mine = {p for p in self.assigned_to(lane) & gone if p not in self._out_of_range}
        if mine:
            self.consumer.pause(*mine)
            self.note_out_of_range(mine)

    def held_by_strangers(self) -> set[TopicPartition]:
        """What nobody of this service has, if it is this member that counts what waits there."""
        # No public call tells by which id the coordinator knows the member.
        member_id = self.consumer._coordinator.member_id if self.consumer._coordinator is not None else ""
        known = {
            TopicPartition(topic, number)
            for topic in self._connection.incoming_topics
            for number in self.consumer.partitions_for_topic(topic) or ()
        }
        return self._access.strangers.counted_by(member_id, known - self.consumer.assignment())

    # --- what cannot be read

    def note_unreadable(self, partition: TopicPartition, fault: Fault) -> None:
        """See `consumer.Faults`."""
        self._held.note(partition, fault)
        self._lanes.ring({partition})

    async def look_after_held(self, lane: Lane) -> None:
        """Takes held partitions out of the merge, tries them again now and then, and lets go those that can be read."""
        for partition, held in self._held.items():
            if self._lanes.of(partition) is not lane:
                continue
            at = TopicPartition(*partition)
            received = self.received.get(partition, 0)
            if held.state == "stands" and not lane.merge.has(partition):
                self._forget({at})
                self.consumer.leave_alone({at})
                held.state = "out"
            elif held.is_due:
                held.state = "tried"
                self.open_again({at})
            elif held.state == "tried" and (
                received > held.offset
                or await self.consumer.is_read_to_its_end(at, received, waits_for_transactions=False)
            ):
                self._held.read_again(partition)

    def numbers_without_plans(self) -> set[int]:
        """The numbers of which plans are held, pinned or paused: what waits for a plan, or for an instant, waits on."""
        unread = {*self._held, *self._left_alone, *self.transactions.pinned()}
        return {number for topic, number in unread if self._connection.event_type(topic) == PLAN_CHANGED}

    # --- topics that are paused

    @property
    def left_alone_topics(self) -> set[str]:
        """Topics of which partitions are this member's, and are left alone."""
        return {partition.topic for partition in self._left_alone}

    async def read_pauses(self, lane: Lane) -> None:
        """Leaves topics alone that are paused for all members, and takes up those that are not any more."""
        now = time.monotonic()
        if now < lane.next_pauses:
            return
        lane.next_pauses = now + PAUSES_READ_EVERY_SECONDS
        try:
            paused = await self._offsets.paused_topics()
        except AccessDenied as error:
            if self._status.set("topics", f"which are paused cannot be read: {error}"):
                log.warning("paused topics cannot be read, access is denied", cause=str(error))
            return
        except LedgerUnavailable:
            return
        mine = self.assigned_to(lane)
        self._leave_alone({p for p in mine - self._left_alone if p.topic in paused})
        self.open_again({p for p in mine & self._left_alone if p.topic not in paused})
        names = ", ".join(sorted(paused))
        self._status.degrade("topics", f"paused until `credits resume TOPIC`: {names}" if paused else None)

    async def look_for_lost_commits(self, lane: Lane) -> bool:
        """Opens again what stands behind in the ledger: a server has taken over that lacks what was committed last.

        A batch would find it, but to a partition that is read to its end none may come. False while it is not known of
        the server that answers: nothing is to be decided on what it has.
        """
        now, moved = time.monotonic(), self._offsets.moved
        if now < lane.next_stored and lane.moved == moved:
            return True
        lane.next_stored = now + STORED_READ_EVERY_SECONDS
        # All of it was committed before the ledger is asked.
        known = {p: self._positions[p] for p in self.read_by(lane) if p in self._positions}
        try:
            stored = await self._offsets.load(known)
        except LedgerUnavailable:
            return lane.moved == self._offsets.moved
        lane.moved = moved
        behind = {p for p, offset in known.items() if stored.get(p, -1) < offset == self._positions.get(p)}
        if behind:
            log.warning("stored offsets moved back, reading again from there", partitions=len(behind))
            self.open_again(behind)
        # Else it may be another one that was asked.
        return moved == self._offsets.moved

    def grounds_of(self, lane: Lane) -> Callable[[], bool]:
        """Whether the server that answers is still the one of which it is known what is stored."""
        moved = lane.moved
        return lambda: self._offsets.moved == moved

    def _leave_alone(self, partitions: Set[TopicPartition]) -> None:
        self._forget(partitions)
        self._held.forget(partitions)
        self.consumer.leave_alone(partitions)
        self._left_alone |= partitions

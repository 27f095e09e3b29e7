"""The member of the consumer group: joins, leaves, and joins again when Kafka or the group requires it."""

import asyncio
from collections.abc import Collection, Set

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError

from credit_service.application.readiness import Status
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import describe
from credit_service.kafka.consume.assignment import Assignment
from credit_service.kafka.consume.predecessor import Predecessors
from credit_service.kafka.consume.read_state import ReadState
from credit_service.kafka.consume.subscriber import Feed, Subscriber
from credit_service.kafka.fetch.portions import Fault

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
# Longer than Kafka keeps a member whose heartbeats are missing, and than a rebalance.
CUT_OFF_SECONDS = 60.0


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Keeps this process in the group, and reports to `assignment` which partitions come and go.

    `feed` gets the portions that arrive.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        feed: Feed,
        state: ReadState,
        assignment: Assignment,
        access: AccessWatch,
        status: Status,
    ) -> None:
        self._connection = connection
        self._feed = feed
        self._state = state
        self._membership = state.membership
        self._assignment = assignment
        self._access = access
        self._status = status
        self._predecessors = Predecessors(connection)
        self._has_longer_sessions = False
        self._is_broken = False

    async def join(self) -> None:
        """Joins the group; raises aiokafka's KafkaError if no broker answers, or the group refuses this member."""
        self._status.set("partitions", "no partitions are assigned yet")
        self._is_broken = False
        subscriber = self._membership.subscriber = Subscriber(
            self._connection, self._feed, self, self, has_longer_sessions=self._has_longer_sessions
        )
        try:
            async with self._predecessors.replaced():
                await subscriber.start()
        except BaseException as error:
            await self._drop()
            if isinstance(error, InvalidSessionTimeoutError) and not self._has_longer_sessions:
                log.warning("brokers refuse a session this short, joining with a longer one", cause=describe(error))
                self._has_longer_sessions = True
            raise

    async def leave(self) -> None:
        """Commits the stored offsets, and leaves the group, or stays in it for the next start to take it out."""
        await self._assignment.close()
        subscriber = self._membership.subscriber
        if subscriber is not None and self._membership.is_in:
            if await self._predecessors.is_to_be_taken_out():
                self._membership.consumer.stay_in_the_group()
            await subscriber.stop()

    async def keep_group_offsets(self) -> None:
        """Commits the ledger's offsets to Kafka as they move. Ends only when it is cancelled."""
        membership = self._membership
        while True:
            try:
                await self._state.group_offsets.keep_up(lambda: membership.consumer if membership.is_in else None)
            except Exception:  # a defect must not leave lag monitors without offsets for good
                log.exception("Kafka's offsets could not be committed, trying again")
                await asyncio.sleep(RETRY_SECONDS)

    # --- in the group, or not

    async def stay_in(self) -> None:
        """Leaves the group when Kafka refuses it, and joins again once it can, from the ledger's offsets.

        Ends only when it is cancelled.
        """
        while True:
            try:
                await self._access.until_time()
                await self._access.ask()
                if self._membership.is_in and (why := self._why_it_has_to_leave()):
                    await self._drop()
                    log.warning("left the group", cause=why)
                    await asyncio.sleep(RETRY_SECONDS)
                if not self._membership.is_in and not self._access.reading:
                    await self._join_again()
            except Exception:  # a defect must not keep it out of the group for good
                log.exception("the membership could not be checked, trying again")
                await asyncio.sleep(RETRY_SECONDS)

    def _why_it_has_to_leave(self) -> str | None:
        if self._is_broken:
            return "the group was lost"
        if self._access.reading and self._reads_nothing:
            return "Kafka refuses what is needed to read"
        if self.is_cut_off:
            return "the group's coordinator answers, but accepts no commit of this member"
        return None

    @property
    def _reads_nothing(self) -> bool:
        """Whether no broker has answered lately, or partitions cannot be opened."""
        return self._assignment.is_opening or self._membership.consumer.brokers_are_silent()

    @property
    def is_cut_off(self) -> bool:
        """Whether commits have failed for long although the group's coordinator answers other requests.

        Such a member reads on from partitions that Kafka has assigned to others, and gets no new ones.
        """
        is_failing = not self._membership.is_rejoining and self._state.group_offsets.failing_seconds > CUT_OFF_SECONDS
        return is_failing and self._access.is_coordinated

    async def _drop(self) -> None:
        """Leaves the group, and forgets all partitions and buffered records."""
        self._membership.is_rejoining = True
        self._status.set("partitions", "out of the group, and trying to join again")
        self._status.set("kafka", None)
        async with self._assignment.dropped():
            subscriber, self._membership.subscriber = self._membership.subscriber, None
        # Only after that, or a revoke that is under way would wait for the lanes, and this for the revoke.
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

    # --- what the consumer reports

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """See aiokafka: returns once nothing of these partitions is decided any more."""
        self._membership.is_rejoining = True
        self._status.set("partitions", "the group rebalances")
        await self._assignment.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """See aiokafka: the partitions are opened in the background."""
        self._membership.is_rejoining = False
        if not assigned:
            # More members than partitions: this one is well, and takes over once another leaves.
            log.info("no partitions are left, the other members have all")
            self._status.set("partitions", None)
        self._assignment.assigned(assigned)

    def note_broken(self, error: KafkaError) -> None:
        """See `consumer.Faults`."""
        if not self._is_broken:
            log.warning("the group was lost", cause=describe(error))
        self._is_broken = True
        self._access.suspect()

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        """See `consumer.Faults`."""
        self._state.note_out_of_range(partitions)

    def note_unreadable(self, partition: TopicPartition, fault: Fault) -> None:
        """See `consumer.Faults`."""
        self._state.note_unreadable(partition, fault)

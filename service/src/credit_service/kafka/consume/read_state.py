"""The state of each assigned partition: how far it is read, and why it is not read."""

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from credit_service.application import ports
from credit_service.application.ports import Positions
from credit_service.application.processing.chain import ChainBroken, join
from credit_service.application.processing.lane import Lane, Lanes
from credit_service.application.readiness import Status
from credit_service.application.record import Record
from credit_service.domain.event import PLAN_CHANGED
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.consumer import HandOverConsumer
from credit_service.kafka.consume.group_offsets import GroupOffsets
from credit_service.kafka.consume.held_partitions import HeldPartitions
from credit_service.kafka.consume.membership import Membership
from credit_service.kafka.consume.open_transactions import OpenTransactions
from credit_service.kafka.fetch.portions import Fault, Portion

if TYPE_CHECKING:
    from uuid import UUID


class ReadState:
    """The state of the assigned partitions; `forget` drops all of it for partitions that go or are opened again.

    `membership` has the consumer, `lanes` have the buffers. `positions` are the ledger's offsets. `received` is the
    offset after what has arrived, `joined` the offset after the last record of that. `suspended` are partitions of
    paused topics; `out_of_range` are those whose log does not have the next offset.
    """

    def __init__(
        self, connection: KafkaConnection, membership: Membership, lanes: Lanes, positions: Positions, status: Status
    ) -> None:
        self.membership = membership
        self.lanes = lanes
        self.positions = positions
        self.received: dict[ports.TopicPartition, int] = {}
        self.joined: dict[ports.TopicPartition, int] = {}
        self.topic_ids: dict[ports.TopicPartition, UUID] = {}
        self.suspended: set[TopicPartition] = set()
        self.out_of_range: set[TopicPartition] = set()
        self.group_offsets = GroupOffsets(positions)
        self.held = HeldPartitions(status)
        self.transactions = OpenTransactions(status)
        self._connection = connection

    @property
    def consumer(self) -> HandOverConsumer:
        """The consumer of the running subscriber."""
        return self.membership.consumer

    # --- which partitions

    def assigned_to(self, lane: Lane) -> set[TopicPartition]:
        """The assigned partitions that belong to the lane."""
        assigned = self.consumer.assignment() if self.membership.is_in else ()
        return {partition for partition in assigned if self.lanes.of(partition) is lane}

    def read_by(self, lane: Lane) -> set[TopicPartition]:
        """Those of them that are neither suspended nor held."""
        return self.assigned_to(lane) - self.suspended - set(self.held)

    @property
    def suspended_topics(self) -> set[str]:
        """The paused topics of which partitions are assigned to this member."""
        return {partition.topic for partition in self.suspended}

    def numbers_without_plans(self) -> set[int]:
        """The partition numbers whose plans are not read: held, paused, or behind a transaction that stays open.

        There the events that wait for a plan, and the timers, wait on.
        """
        unread = {*self.held, *self.suspended, *self.transactions.hanging()}
        return {number for topic, number in unread if self._connection.event_type(topic) == PLAN_CHANGED}

    # --- how far each is read

    def open(self, partition: TopicPartition, offset: int) -> None:
        """Reads on at `offset`, which is the ledger's."""
        self.positions[partition] = offset
        self.received[partition] = self.joined[partition] = offset
        self.lanes.of(partition).merge.add(partition)

    def chained(self, portion: Portion, records: list[Record]) -> list[Record]:
        """The records of a portion, joined to those before them; none of a partition that is not open.

        Raises `ChainBroken` if offsets are missing before them.
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

    async def read_to_their_ends(self, lane: Lane) -> set[ports.TopicPartition]:
        """The lane's partitions of which every record that can be read has arrived.

        Records behind a transaction that is open for long do not count.
        """
        consumer = self.consumer
        partitions = {partition: TopicPartition(*partition) for partition in lane.merge.partitions}
        self.transactions.look({partition: consumer.ends(at) for partition, at in partitions.items()})
        not_waited_for = self.transactions.not_waited_for()
        return {
            partition
            for partition, at in partitions.items()
            if await consumer.is_read_to_its_end(
                at, self.received.get(partition, 0), waits_for_transactions=partition not in not_waited_for
            )
        }

    # --- partitions that cannot be read on, or that go

    def note_out_of_range(self, partitions: Set[TopicPartition]) -> None:
        """Notes that the logs of these do not have the next offset; see `log_gaps`."""
        self.out_of_range |= partitions
        self.lanes.notify(partitions)

    def note_unreadable(self, partition: TopicPartition, fault: Fault) -> None:
        """Holds the partition; see `held_retries`."""
        self.held.note(partition, fault)
        self.lanes.notify({partition})

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Drops the state and the buffered records of the partitions."""
        for partition in partitions:
            lane = self.lanes.of(partition)
            lane.merge.remove(partition)
            lane.timers.forget(partition.partition)
            self.transactions.forget(partition)
            self.received.pop(partition, None)
            self.joined.pop(partition, None)
            self.topic_ids.pop(partition, None)
            self.positions.pop(partition, None)
            self.group_offsets.forget(partition)
            self.suspended.discard(partition)
            self.out_of_range.discard(partition)
        self.consumer.close_partitions(partitions)

    def suspend(self, partitions: Set[TopicPartition]) -> None:
        """Forgets the partitions, whose topics are paused, and fetches nothing of them."""
        self.forget(partitions)
        self.held.forget(partitions)
        self.consumer.suspend(partitions)
        self.suspended |= partitions

"""Tries held partitions again, and releases those that can be read."""

from aiokafka import TopicPartition

from credit_service.application.processing.lane import Lane
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState


class HeldRetries:
    """Moves each held partition from one state to the next; see `held_partitions.State`."""

    def __init__(self, state: ReadState, opener: PartitionOpener) -> None:
        self._state = state
        self._opener = opener

    async def look_after(self, lane: Lane) -> None:
        """Takes held partitions of the lane out of the merge, opens them when due, and releases those that are read."""
        consumer = self._state.consumer
        for partition, held in self._state.held.items():
            if self._state.lanes.of(partition) is not lane:
                continue
            at = TopicPartition(*partition)
            received = self._state.received.get(partition, 0)
            if held.state == "draining" and not lane.merge.has(partition):
                self._state.forget({at})
                consumer.suspend({at})
                held.state = "out"
            elif held.is_due:
                held.state = "tried"
                self._opener.open_again({at})
            elif held.state == "tried" and (
                received > held.offset or await consumer.is_read_to_its_end(at, received, waits_for_transactions=False)
            ):
                self._state.held.release(partition)

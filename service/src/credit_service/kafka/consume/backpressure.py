"""Fetches no more of partitions whose buffers are full, and again once half of that is decided."""

from aiokafka import TopicPartition

from credit_service.application.processing.lane import Lane
from credit_service.kafka.consume.read_state import ReadState


class Backpressure:
    """Pauses and resumes fetching by the size of the buffers."""

    def __init__(self, state: ReadState) -> None:
        self._state = state

    def pause_full(self) -> None:
        """Fetches no more of partitions that have their share buffered."""
        consumer = self._state.consumer
        for lane in self._state.lanes:
            consumer.pause(*(TopicPartition(*partition) for partition in lane.merge.full()))

    def resume_drained(self, lane: Lane) -> None:
        """Fetches again from the lane's paused partitions of which at most half of the share is buffered."""
        consumer = self._state.consumer
        full = (consumer.paused() & lane.merge.partitions) - self._state.held.draining() - self._state.out_of_range
        if full:
            consumer.resume(*(full - lane.merge.not_drained()))

"""Partitions whose log does not have the next offset any more: opened again once their buffered records are decided."""

from credit_service.application.processing.lane import Lane
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.access.topic_ids import recreated
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState


class LogGaps:
    """Opens partitions again whose offsets were removed, or whose topic was deleted and created again."""

    def __init__(self, state: ReadState, opener: PartitionOpener, access: AccessWatch) -> None:
        self._state = state
        self._opener = opener
        self._access = access

    def look_for_recreated_topics(self, lane: Lane) -> None:
        """Notes partitions whose topic has another id by now, and fetches no more of them."""
        deleted = recreated(self._state.topic_ids, self._access.topic_ids)
        mine = {p for p in self._state.assigned_to(lane) & deleted if p not in self._state.out_of_range}
        if mine:
            self._state.consumer.pause(*mine)
            self._state.note_out_of_range(mine)

    def open_decided(self, lane: Lane) -> None:
        """Opens those again of which no record waits any more; the opener records the gap."""
        mine = {partition for partition in self._state.out_of_range if self._state.lanes.of(partition) is lane}
        self._opener.open_again({partition for partition in mine if not lane.merge.has(partition)})

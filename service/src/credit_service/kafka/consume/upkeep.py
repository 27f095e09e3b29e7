"""Checks and repairs of a lane's partitions before and after each batch."""

from credit_service.application.ports import OffsetStore
from credit_service.application.processing.lane import Lane
from credit_service.application.readiness import Status
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.backpressure import Backpressure
from credit_service.kafka.consume.broker_watch import BrokerWatch
from credit_service.kafka.consume.held_retries import HeldRetries
from credit_service.kafka.consume.log_gaps import LogGaps
from credit_service.kafka.consume.lost_commits import LostCommits
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState
from credit_service.kafka.consume.topic_pauses import TopicPauses


class Upkeep:
    """Keeps the partitions of a lane in order between its batches."""

    def __init__(
        self,
        connection: KafkaConnection,
        state: ReadState,
        opener: PartitionOpener,
        offsets: OffsetStore,
        access: AccessWatch,
        status: Status,
    ) -> None:
        self.backpressure = Backpressure(state)
        self.brokers = BrokerWatch(connection, state, opener, access, status)
        self.lost_commits = LostCommits(state, opener, offsets)
        self._pauses = TopicPauses(state, opener, offsets, status)
        self._gaps = LogGaps(state, opener, access)
        self._held = HeldRetries(state, opener)

    async def before_batch(self, lane: Lane) -> bool:
        """Notes pauses, lost commits, silent brokers and recreated topics; False while no batch may be decided."""
        await self._pauses.apply(lane)
        if not await self.lost_commits.look(lane):
            return False
        self.brokers.look()
        self._gaps.look_for_recreated_topics(lane)
        return True

    async def after_batch(self, lane: Lane) -> None:
        """Opens partitions again, retries held ones, and fetches from drained ones."""
        self._gaps.open_decided(lane)
        await self._held.look_after(lane)
        self.backpressure.resume_drained(lane)

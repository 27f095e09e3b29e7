"""Whether brokers answer this member, and whether Kafka is the reason why nothing is decided."""

import asyncio

import structlog

from credit_service.application.readiness import Status
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.access.probe import inspect
from credit_service.kafka.connect.acls import on_topics
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState

log = structlog.get_logger(__name__)

ANSWER_SECONDS_MAX = 10.0


class BrokerWatch:
    """Says in `status` when no broker answers, and gives the watchdog Kafka's reasons."""

    def __init__(
        self,
        connection: KafkaConnection,
        state: ReadState,
        opener: PartitionOpener,
        access: AccessWatch,
        status: Status,
    ) -> None:
        self._connection = connection
        self._state = state
        self._opener = opener
        self._access = access
        self._status = status

    def look(self) -> None:
        """Sets the status when no broker answers any more, and clears it when one answers again."""
        consumer = self._state.consumer
        # A member without partitions fetches nothing that could go unanswered.
        silent = consumer.brokers_are_silent() or not (self._access.is_answered or consumer.fetches)
        if self._status.set("kafka", "no broker answers" if silent else None):
            log.warning("no broker answers" if silent else "brokers answer again")
            self._access.suspect()

    async def excuse(self, *, knows_all_ends: bool) -> str | None:
        """Why nothing is decided, if Kafka is the reason: refused, topics uneven, no broker, no leader.

        A broker that answers others, but not this member, is no excuse. `knows_all_ends`: Kafka has given the end of
        each partition.
        """
        if self._access.reading:
            return "Kafka refuses what is needed to read"
        if self._opener.counts_differ:
            return "incoming topics have unequal partition counts"
        if knows_all_ends and self._state.membership.is_in and not self._state.consumer.brokers_are_silent():
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                report = await inspect(self._connection, on_topics(self._connection.incoming_topics, "describe"))
        except (BrokerUnavailable, TimeoutError) as error:
            return str(error) or "no broker answers"
        return f"partitions have no leader: {', '.join(report.leaderless)}" if report.leaderless else None

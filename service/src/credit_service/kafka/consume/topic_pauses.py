"""Topics that are paused for all members: their partitions are not read until they are resumed."""

import time

import structlog

from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.application.ports import OffsetStore
from credit_service.application.processing.lane import Lane
from credit_service.application.readiness import Status
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState

log = structlog.get_logger(__name__)

READ_EVERY_SECONDS = 2.0


class TopicPauses:
    """Reads from the ledger which topics are paused, and says so in `status`."""

    def __init__(self, state: ReadState, opener: PartitionOpener, offsets: OffsetStore, status: Status) -> None:
        self._state = state
        self._opener = opener
        self._offsets = offsets
        self._status = status

    async def apply(self, lane: Lane) -> None:
        """Suspends the lane's partitions of paused topics, and opens those of topics that were resumed."""
        now = time.monotonic()
        if now < lane.next_pauses:
            return
        lane.next_pauses = now + READ_EVERY_SECONDS
        try:
            paused = await self._offsets.paused_topics()
        except AccessDenied as error:
            if self._status.set("topics", f"paused topics cannot be read: {error}"):
                log.warning("paused topics cannot be read, access is denied", cause=str(error))
            return
        except LedgerUnavailable:
            return
        mine = self._state.assigned_to(lane)
        self._state.suspend({p for p in mine - self._state.suspended if p.topic in paused})
        self._opener.open_again({p for p in mine & self._state.suspended if p.topic not in paused})
        names = ", ".join(sorted(paused))
        self._status.degrade("topics", f"paused until `credits resume TOPIC`: {names}" if paused else None)

"""Commits that Postgres has lost: a server has taken over that lacks the latest ones."""

import time
from collections.abc import Callable

import structlog

from credit_service.application.errors import LedgerUnavailable
from credit_service.application.ports import OffsetStore
from credit_service.application.processing.lane import Lane
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState

log = structlog.get_logger(__name__)

READ_EVERY_SECONDS = 5.0


class LostCommits:
    """Compares the stored offsets with those that this member has committed.

    A batch would find the difference as well, but a partition that is read to its end may get no further batch.
    """

    def __init__(self, state: ReadState, opener: PartitionOpener, offsets: OffsetStore) -> None:
        self._state = state
        self._opener = opener
        self._offsets = offsets

    async def look(self, lane: Lane) -> bool:
        """Opens partitions again whose stored offset is lower than the committed one.

        False while the offsets of the server that answers are not known: nothing may be decided on its state.
        """
        now, moved = time.monotonic(), self._offsets.moved
        if now < lane.next_stored and lane.moved == moved:
            return True
        lane.next_stored = now + READ_EVERY_SECONDS
        # All of these were committed before the ledger is asked.
        positions = self._state.positions
        known = {p: positions[p] for p in self._state.read_by(lane) if p in positions}
        try:
            stored = await self._offsets.load(known)
        except LedgerUnavailable:
            return lane.moved == self._offsets.moved
        lane.moved = moved
        behind = {p for p, offset in known.items() if stored.get(p, -1) < offset == positions.get(p)}
        if behind:
            log.warning("stored offsets moved back, reading again from there", partitions=len(behind))
            self._opener.open_again(behind)
        # Otherwise another server may have answered.
        return moved == self._offsets.moved

    def same_server(self, lane: Lane) -> Callable[[], bool]:
        """Whether the server that answers is still the one whose stored offsets are known; to be called later."""
        moved = lane.moved
        return lambda: self._offsets.moved == moved

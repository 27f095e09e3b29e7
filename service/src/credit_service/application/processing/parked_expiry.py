"""Parked events become dead letters when their account's first plan does not come in time."""

from collections import Counter
from collections.abc import Collection
from datetime import timedelta

import structlog

from credit_service import bounds
from credit_service.application.errors import OutOfTime
from credit_service.application.ports import Ledger, ToStore
from credit_service.application.processing.batch_share import BatchShare
from credit_service.application.processing.parked_letter import encoded_anew
from credit_service.application.processing.reasons import REFUSALS
from credit_service.application.processing.report import Report

log = structlog.get_logger(__name__)


class ParkedExpiry:
    """Makes dead letters of events that have been parked for longer than `waiting_max`."""

    def __init__(self, ledger: Ledger, waiting_max: timedelta) -> None:
        self._ledger = ledger
        self._waiting_max = waiting_max
        self._at_once = BatchShare()

    async def sweep(self, numbers: Collection[int], partitions: int) -> Report:
        """Expires one transaction's events; reports the dead letters. Raises the faults of `application.errors`.

        `numbers` are the partition numbers, of `partitions`, that are read to their ends: elsewhere the plan may be in
        the backlog.
        """
        limit = self._at_once.of(bounds.EXPIRED_PER_TRANSACTION_MAX)
        try:
            report = await self._sweep(numbers, partitions, limit)
        except OutOfTime:
            self._at_once.ran_out(limit)
            raise
        self._at_once.came_through(report.letters_by_topic.total())
        return report

    async def _sweep(self, numbers: Collection[int], partitions: int, limit: int) -> Report:
        async with self._ledger.transaction() as transaction:
            expired = await transaction.take_expired(self._waiting_max, numbers, partitions, limit)
            letters = [encoded_anew(incoming, "parked-too-long", REFUSALS["parked-too-long"]) for incoming in expired]
            if letters:
                await transaction.store(ToStore(await transaction.now(), dead_letters=letters))
        if letters:
            log.warning("parked events expired", events=len(letters))
        return Report(letters_by_topic=Counter((letter.record.place.topic, letter.reason) for letter in letters))

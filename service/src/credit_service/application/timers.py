"""Timers of accounts to which nothing else happens, and parked events that wait on or for too long: by a sweep."""

import asyncio
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from credit_service import bounds
from credit_service.application.expiry import ParkedExpiry
from credit_service.application.ports import Ledger
from credit_service.application.process import Processor, Report
from credit_service.application.record import Record
from credit_service.domain.decision import Incoming, Wake

TIMER_GRACE = timedelta(seconds=10)
"""How long after its instant a timer waits for late messages, once the topics are read to their ends."""

SWEEP_EVERY_SECONDS = 0.5
UNPARK_EVERY_SECONDS = 30.0
EXPIRE_EVERY_SECONDS = 30.0

NO_TIMERS = datetime(1, 1, 1, tzinfo=UTC)


class TimerSweep:
    """Finds what is due and wakes it. `partitions` is the common partition count of the incoming topics."""

    def __init__(self, ledger: Ledger, processor: Processor, expiry: ParkedExpiry) -> None:
        self.partitions = 0
        self._ledger = ledger
        self._processor = processor
        self._expiry = expiry
        self._passed: dict[int, datetime] = {}
        self._lagging: set[str] = set()
        self._next_sweep = self._next_unpark = self._next_expiry = 0.0

    def note_decided(self, records: Iterable[Record], report: Report) -> None:
        """Notes how far each partition number has come in event time, and whose parked events still wait.

        What is unreadable has Kafka's time, for which a producer may give any: it tells nothing.
        """
        passed, refused = self._passed, report.refused
        for record in records:
            number, at = record.place.partition, record.order[0]
            if at <= passed.get(number, NO_TIMERS) or not isinstance(record.content, Incoming):
                continue
            if not (refused and record.place in refused):
                passed[number] = at
        self._lagging |= report.lagging_accounts

    def forget(self, number: int) -> None:
        """Forgets how far a partition number has come: it is read on from elsewhere, perhaps from further back."""
        self._passed.pop(number, None)

    def is_time(self) -> bool:
        """Whether the next sweep is due."""
        return bool(self._lagging) or time.monotonic() >= self._next_sweep

    async def sweep(
        self, numbers: Collection[int], at_their_ends: Collection[int], abandon: asyncio.Event
    ) -> Report | None:
        """Wakes accounts of the partition `numbers` that have something due; None if there was nothing to do.

        Numbers that are read to their ends go by the database's clock, the others by the event time they have passed.
        """
        now = time.monotonic()
        self._next_sweep = now + SWEEP_EVERY_SECONDS
        if expired := await self._expire_parked(at_their_ends, now):
            self._next_sweep = now
            return expired
        wakes = await self._due(numbers, at_their_ends)
        if len(wakes) == bounds.ACCOUNTS_PER_SWEEP_MAX:
            self._next_sweep = now
        wakes += await self._to_unpark(now)
        if not wakes:
            return None
        report = await self._processor.wake(wakes, abandon)
        self._lagging -= {wake.account_id for wake in wakes}
        self._lagging |= report.lagging_accounts
        return report

    async def _due(self, numbers: Collection[int], at_their_ends: Collection[int]) -> list[Wake]:
        asked = {n: None if n in at_their_ends else self._passed.get(n) for n in numbers}
        asked = {n: at for n, at in asked.items() if at is not None or n in at_their_ends}
        if not asked:
            return []
        due = await self._ledger.accounts_with_due_timers(asked, self.partitions, bounds.ACCOUNTS_PER_SWEEP_MAX)
        return [Wake(account_id, up_to, bounds.TIMERS_PER_ACCOUNT_MAX) for account_id, up_to in due]

    async def _expire_parked(self, at_their_ends: Collection[int], now: float) -> Report | None:
        if now < self._next_expiry or not at_their_ends:
            return None
        expired = await self._expiry.sweep(at_their_ends, self.partitions)
        self._next_expiry = now + (0.0 if expired.letters else EXPIRE_EVERY_SECONDS)
        return expired if expired.letters else None

    async def _to_unpark(self, now: float) -> list[Wake]:
        if now >= self._next_unpark:
            self._next_unpark = now + UNPARK_EVERY_SECONDS
            self._lagging |= set(await self._ledger.accounts_to_unpark(bounds.ACCOUNTS_PER_SWEEP_MAX))
        chosen = sorted(self._lagging)[: bounds.ACCOUNTS_PER_SWEEP_MAX]
        return [Wake(account_id, NO_TIMERS, 0) for account_id in chosen]

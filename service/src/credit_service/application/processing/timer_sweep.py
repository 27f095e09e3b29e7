"""The sweep: runs timers of accounts without new events, and decides or expires parked events."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from credit_service import bounds
from credit_service.application.ports import Ledger
from credit_service.application.processing.parked_expiry import ParkedExpiry
from credit_service.application.processing.processor import Processor, always
from credit_service.application.processing.report import Report
from credit_service.application.processing.timer_backoff import TimerBackoff
from credit_service.domain.event import Wake

TIMER_GRACE = timedelta(seconds=10)
"""How long after its instant a timer waits for late messages, once the topics are read to their ends."""

SWEEP_EVERY_SECONDS = 0.5
UNPARK_EVERY_SECONDS = 30.0
EXPIRE_EVERY_SECONDS = 30.0

NO_TIMERS = datetime(1, 1, 1, tzinfo=UTC)


class TimerSweep:
    """Finds accounts with something due and wakes them. `partitions` is the partition count of each incoming topic."""

    def __init__(self, ledger: Ledger, processor: Processor, expiry: ParkedExpiry) -> None:
        self.partitions = 0
        self._ledger = ledger
        self._processor = processor
        self._expiry = expiry
        self._passed: dict[int, datetime] = {}
        self._lagging: set[str] = set()
        self._backoff = TimerBackoff()
        self._next_sweep = self._next_unpark = self._next_expiry = 0.0

    def note_decided(self, report: Report) -> None:
        """Notes the accounts whose parked events still wait."""
        self._lagging |= report.lagging_accounts

    def note_reached(self, number: int, at: datetime) -> None:
        """Notes how far a partition number is read: all known messages that wait there are of `at` or later."""
        self._passed[number] = at

    def forget(self, number: int) -> None:
        """Forgets how far a partition number is read: reading goes on elsewhere, perhaps further back."""
        self._passed.pop(number, None)

    def is_time(self) -> bool:
        """Whether the next sweep is due."""
        return bool(self._lagging) or time.monotonic() >= self._next_sweep

    async def sweep(
        self,
        numbers: Collection[int],
        at_their_ends: Collection[int],
        abandon: asyncio.Event,
        is_current: Callable[[], bool] = always,
    ) -> Report | None:
        """Wakes accounts of the partition `numbers` that have something due; None if there was nothing to do.

        Numbers that are read to their ends go by the database's clock, the others by the last `note_reached`. Raises
        `OffsetsMoved` when the member's positions are not `is_current` any more.
        """
        now = time.monotonic()
        self._next_sweep = now + SWEEP_EVERY_SECONDS
        if expired := await self._expire_parked(at_their_ends, now):
            self._next_sweep = now
            return expired
        self._backoff.forget_old(now)
        due = await self._due(numbers, at_their_ends)
        wakes = [wake for wake in due if not self._backoff.holds(wake.account_id, now)]
        wakes = wakes[: bounds.ACCOUNTS_PER_SWEEP_MAX]
        if len(wakes) == bounds.ACCOUNTS_PER_SWEEP_MAX:
            self._next_sweep = now
        wakes += await self._to_unpark(now)
        if not wakes:
            return None
        # Accounts that failed before may fail again: then all that are woken with them are tried one by one, after
        # other timers of theirs have taken their time.
        again = [replace(w, timers_max=min(w.timers_max, 1)) for w in wakes if w.account_id in self._backoff]
        parts = [[wake for wake in wakes if wake.account_id not in self._backoff], again]
        whole = Report()
        for part in filter(None, parts):
            report = await self._processor.wake(part, abandon, is_current)
            self._note_woken({wake.account_id for wake in part}, report)
            whole.add(report)
        return whole

    def _note_woken(self, account_ids: set[str], report: Report) -> None:
        self._backoff.failed(report.failed, time.monotonic())
        self._backoff.came_through(account_ids - report.failed)
        self._lagging -= account_ids
        self._lagging |= report.lagging_accounts

    async def _due(self, numbers: Collection[int], at_their_ends: Collection[int]) -> list[Wake]:
        passed_at = {n: None if n in at_their_ends else self._passed.get(n) for n in numbers}
        passed_at = {n: at for n, at in passed_at.items() if at is not None or n in at_their_ends}
        if not passed_at:
            return []
        # As many more as may be paused: these are found first.
        limit = bounds.ACCOUNTS_PER_SWEEP_MAX + len(self._backoff)
        due = await self._ledger.accounts_with_due_timers(passed_at, self.partitions, limit)
        return [Wake(account_id, up_to, bounds.TIMERS_PER_ACCOUNT_MAX) for account_id, up_to in due]

    async def _expire_parked(self, at_their_ends: Collection[int], now: float) -> Report | None:
        if now < self._next_expiry or not at_their_ends:
            return None
        expired = await self._expiry.sweep(at_their_ends, self.partitions)
        self._next_expiry = now + (0.0 if expired.letters_by_topic else EXPIRE_EVERY_SECONDS)
        return expired if expired.letters_by_topic else None

    async def _to_unpark(self, now: float) -> list[Wake]:
        if now >= self._next_unpark:
            self._next_unpark = now + UNPARK_EVERY_SECONDS
            limit = bounds.ACCOUNTS_PER_SWEEP_MAX + len(self._backoff)
            self._lagging |= set(await self._ledger.accounts_to_unpark(limit))
        # Paused accounts are found again later.
        self._lagging = {name for name in self._lagging if not self._backoff.holds(name, now)}
        chosen = sorted(self._lagging)[: bounds.ACCOUNTS_PER_SWEEP_MAX]
        return [Wake(account_id, NO_TIMERS, 0) for account_id in chosen]

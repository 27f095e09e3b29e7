"""Checks the service at intervals, outside of the processing of events, and reports problems."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from logging import INFO, WARNING
from typing import Protocol

import structlog

from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.application.health_ports import Backlog, IntakeProbe, LedgerProbe, ReadsProbe
from credit_service.watch.watchdog import Observation, Watchdog

log = structlog.get_logger(__name__)

LOOK_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 2.0
OUTBOX_SECONDS_MAX = 60.0
"""Longer than rows wait during a restart of the relay, or a change of its leader."""

DENIED_PART = "ledger"
"""The part of the status for batches that wait for access to the ledger."""


class Status(Protocol):
    """The status of the service."""

    @property
    def problems(self) -> Mapping[str, str]:
        """The problems, by part."""

    def set(self, part: str, problem: str | None) -> bool:
        """Sets or clears the problem of a part; True if that is a change."""

    def degrade(self, part: str, problem: str | None) -> bool:
        """Sets or clears a problem of a part that waits for an operator; True if that is a change."""


class Watch:
    """Watches until the service is stuck: messages have waited for `stuck_seconds_max`, and nothing else was missing.

    After a tenth of that it reports the wait. `backlog` is that of the last check; None if the database did not answer
    in time. `database_answers` is None before the first check.
    """

    def __init__(
        self, ledger: LedgerProbe, reads: ReadsProbe, intake: IntakeProbe, status: Status, stuck_seconds_max: float
    ) -> None:
        self.backlog: Backlog | None = None
        self.database_answers: bool | None = None
        self._ledger = ledger
        self._reads = reads
        self._intake = intake
        self._status = status
        self._stuck_seconds_max = stuck_seconds_max
        self._slow_seconds = stuck_seconds_max / 10
        self._every_seconds = min(LOOK_SECONDS_MAX, self._slow_seconds)
        self._watchdogs: dict[str, Watchdog] = {}

    @property
    def waited_seconds(self) -> float:
        """For how long messages have waited without one being decided, in the lane with the longest wait."""
        return max((watchdog.waited_seconds for watchdog in self._watchdogs.values()), default=0.0)

    async def run(self) -> None:
        """Checks at intervals; returns once the service is stuck."""
        while not await self._is_stuck():  # noqa: ASYNC110 - no event reports a lack of progress
            await asyncio.sleep(self._every_seconds)
        log.error(
            "messages wait and nothing is decided, ending so that another start may help",
            seconds=round(self.waited_seconds),
        )

    async def _is_stuck(self) -> bool:
        try:
            return await self.look()
        except Exception:  # a defect of the check must not end the service
            log.exception("a check failed")
            return False

    async def look(self) -> bool:
        """Checks everything once; True if the service is stuck."""
        database, schema = await self._look_at_ledger()
        await self._intake.measure_lag()
        excuse = database or schema or self._status.problems.get(DENIED_PART) or await self._intake.excuse()
        now = time.monotonic()
        for name, lane in self._intake.lanes().items():
            watchdog = self._watchdogs.setdefault(name, Watchdog(2 * self._every_seconds))
            watchdog.observe(Observation(now, lane.decided_at, lane.waits, excuse is not None))
        self._report("database", database)
        self._report("reads", await _problem_of(self._reads.ping()))
        self._report("schema", schema)
        self._report("outbox", self._outbox_problem())
        if self.backlog is not None and self._status.degrade("outbox", _set_aside(self.backlog)):
            log.log(WARNING if self.backlog.set_aside else INFO, "rows set aside", rows=self.backlog.set_aside)
        self._report("progress", self._progress_problem())
        return any(watchdog.failed_seconds >= self._stuck_seconds_max for watchdog in self._watchdogs.values())

    async def _look_at_ledger(self) -> tuple[str | None, str | None]:
        """The problems of the database, and of its schema."""
        self.backlog, schema = None, None

        async def check_schema() -> None:
            nonlocal schema
            schema = await self._ledger.schema_problem()

        database = await _problem_of(check_schema())
        if database is None and schema is None:
            database = await _problem_of(self._count(), seconds_max=None)
        self.database_answers = database is None
        return database, schema

    async def _count(self) -> None:
        """Reads the backlog. A database that takes long for it counts as one that answers."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                self.backlog = await self._ledger.backlog()
        except TimeoutError:
            log.warning("the backlog could not be counted in time", seconds=ANSWER_SECONDS_MAX)

    def _outbox_problem(self) -> str | None:
        if self.backlog is None or self.backlog.outbox_oldest_seconds < OUTBOX_SECONDS_MAX:
            return None
        return f"events have waited in the outbox for more than {OUTBOX_SECONDS_MAX:.0f} s and are not published"

    def _progress_problem(self) -> str | None:
        if self.waited_seconds < self._slow_seconds:
            return None
        return f"messages wait, and none was decided for more than {self._slow_seconds:g} s"

    def _report(self, part: str, problem: str | None) -> None:
        if not self._status.set(part, problem):
            return
        if problem is None:
            log.info("well again", part=part)
        else:
            log.warning("not ready", part=part, problem=problem)


def _set_aside(backlog: Backlog) -> str | None:
    """A sentence if rows were set aside, which an operator has to retry or drop."""
    if not backlog.set_aside:
        return None
    more = f" and {backlog.set_aside - 1:,} more" if backlog.set_aside > 1 else ""
    behind = f", and {backlog.waiting_behind:,} wait behind" if backlog.waiting_behind else ""
    return f"Kafka refuses row {backlog.first_set_aside}{more}{behind}; see `credits outbox list`"


async def _problem_of(
    check: Coroutine[None, None, None], *, seconds_max: float | None = ANSWER_SECONDS_MAX
) -> str | None:
    """The reason if the check gets no answer; None if it does."""
    try:
        async with asyncio.timeout(seconds_max):
            await check
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS_MAX:.0f} seconds"
    except LedgerUnavailable as error:
        return f"{'denies access' if isinstance(error, AccessDenied) else 'does not answer'}: {error}"
    return None

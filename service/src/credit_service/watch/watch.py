"""Looks at intervals at what the way of an event must not ask about, and says what is wrong."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from logging import INFO, WARNING
from typing import Protocol

import structlog

from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.application.health_ports import Backlog, IntakeProbe, LedgerProbe, ReadsProbe
from credit_service.watch.watchdog import Look, Watchdog

log = structlog.get_logger(__name__)

LOOK_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 2.0
OUTBOX_SECONDS_MAX = 60.0
"""Older than a restart of the relay, or a change of its leader, lets the outbox become."""

DENIED_PART = "ledger"
"""Where it is said that batches wait for a person to let the service at the ledger."""


class Status(Protocol):
    """What the service says of itself."""

    @property
    def problems(self) -> Mapping[str, str]:
        """What is missing, by the part that misses it."""

    def set(self, part: str, problem: str | None) -> bool:
        """Notes what a part misses, or that it misses nothing; True if that is news."""

    def degrade(self, part: str, problem: str | None) -> bool:
        """Notes what of a part waits for a person, or that nothing does; True if that is news."""


class Watch:
    """Watches until the service is stuck: messages have waited for `stuck_seconds_max`, though all was there.

    A tenth of that is when it says so. `backlog` is as the last look found it; None if the database did not answer, or
    not in time. `database_answers` is None before the first look.
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
        self._dogs: dict[str, Watchdog] = {}

    @property
    def waited_seconds(self) -> float:
        """How long messages have waited without one being decided, in the lane where that is longest."""
        return max((dog.waited_seconds for dog in self._dogs.values()), default=0.0)

    async def run(self) -> None:
        """Ends once the service is stuck."""
        while not await self._is_stuck():  # noqa: ASYNC110 - what is watched for is silence
            await asyncio.sleep(self._every_seconds)
        log.error(
            "messages wait and nothing is decided, ending so that another start may help",
            seconds=round(self.waited_seconds),
        )

    async def _is_stuck(self) -> bool:
        try:
            return await self.look()
        except Exception:  # a defect of the look must not end what it looks at
            log.exception("a look failed")
            return False

    async def look(self) -> bool:
        """One look at everything; True if the service is stuck."""
        database, schema = await self._look_at_ledger()
        await self._intake.measure_lag()
        excuse = database or schema or self._status.problems.get(DENIED_PART) or await self._intake.excuse()
        now = time.monotonic()
        for name, lane in self._intake.lanes().items():
            dog = self._dogs.setdefault(name, Watchdog(2 * self._every_seconds))
            dog.look(Look(now, lane.decided_at, lane.waits, excuse is not None))
        self._tell("database", database)
        self._tell("reads", await _problem_of(self._reads.ping()))
        self._tell("schema", schema)
        self._tell("outbox", self._outbox_problem())
        if self.backlog is not None and self._status.degrade("outbox", _set_aside(self.backlog)):
            log.log(WARNING if self.backlog.set_aside else INFO, "rows set aside", rows=self.backlog.set_aside)
        self._tell("progress", self._progress_problem())
        return any(dog.failed_seconds >= self._stuck_seconds_max for dog in self._dogs.values())

    async def _look_at_ledger(self) -> tuple[str | None, str | None]:
        """What is wrong with the database, and with its schema."""
        self.backlog, schema = None, None

        async def ask() -> None:
            nonlocal schema
            schema = await self._ledger.schema_problem()

        database = await _problem_of(ask())
        if database is None and schema is None:
            database = await _problem_of(self._count(), seconds_max=None)
        self.database_answers = database is None
        return database, schema

    async def _count(self) -> None:
        """Counts what waits. A database that takes long for it has answered all the same."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                self.backlog = await self._ledger.backlog()
        except TimeoutError:
            log.warning("what waits could not be counted in time", seconds=ANSWER_SECONDS_MAX)

    def _outbox_problem(self) -> str | None:
        if self.backlog is None or self.backlog.outbox_oldest_seconds < OUTBOX_SECONDS_MAX:
            return None
        return f"events have waited in the outbox for more than {OUTBOX_SECONDS_MAX:.0f} s and are not published"

    def _progress_problem(self) -> str | None:
        if self.waited_seconds < self._slow_seconds:
            return None
        return f"messages wait, and none was decided for more than {self._slow_seconds:g} s"

    def _tell(self, part: str, problem: str | None) -> None:
        if not self._status.set(part, problem):
            return
        if problem is None:
            log.info("well again", part=part)
        else:
            log.warning("not ready", part=part, problem=problem)


def _set_aside(backlog: Backlog) -> str | None:
    """What waits for a person to retry or drop it."""
    if not backlog.set_aside:
        return None
    more = f" and {backlog.set_aside - 1:,} more" if backlog.set_aside > 1 else ""
    behind = f", and {backlog.waiting_behind:,} wait behind" if backlog.waiting_behind else ""
    return f"Kafka refuses row {backlog.first_set_aside}{more}{behind}; see `credits outbox list`"


async def _problem_of(
    asking: Coroutine[None, None, None], *, seconds_max: float | None = ANSWER_SECONDS_MAX
) -> str | None:
    """Why there is no answer, if there is none."""
    try:
        async with asyncio.timeout(seconds_max):
            await asking
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS_MAX:.0f} seconds"
    except LedgerUnavailable as error:
        return f"{'denies access' if isinstance(error, AccessDenied) else 'does not answer'}: {error}"
    return None

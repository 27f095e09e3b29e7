"""Takes batches of records and wakes through the ledger."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from credit_contracts.envelope import Unreadable
from credit_service.application.errors import (
    Abandoned,
    AccessDenied,
    InputsRefused,
    LedgerUnavailable,
    OffsetsMoved,
    OutOfTime,
)
from credit_service.application.isolate import isolate
from credit_service.application.ports import (
    DeadLetter,
    Positions,
    ReportProblem,
    TopicPartition,
    Transactions,
    ignore_problem,
)
from credit_service.application.processing.batch_share import BatchShare
from credit_service.application.processing.chain import moved
from credit_service.application.processing.fold import fold
from credit_service.application.processing.outbox_events import trace
from credit_service.application.processing.reasons import detail_of, reason_of
from credit_service.application.processing.report import Report
from credit_service.application.record import Record
from credit_service.application.retry import backoff_seconds, is_set_within, with_jitter
from credit_service.application.tracing import UNTRACED, BatchTrace, MarkStep
from credit_service.domain.decision import Refused
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.rules import Rules
from credit_service.runtime.failpoints import Failpoint, no_failpoints

log = structlog.get_logger(__name__)


def always() -> bool:
    """The `is_current` of work that does not depend on stored offsets."""
    return True


@dataclass(frozen=True, slots=True)
class _Work:
    """Inputs and letters that are decided and stored together."""

    inputs: Sequence[Incoming | Wake]
    records: Sequence[Record] = ()
    letters: Sequence[DeadLetter] = ()
    next_offsets: Mapping[TopicPartition, int] = field(default_factory=dict)
    trace: BatchTrace = UNTRACED
    is_current: Callable[[], bool] = always


class Processor:
    """Takes batches through the ledger, one transaction each, and keeps `positions` as the ledger has them.

    Without `moves_offsets` the stored offsets do not change: the records were read before. `attempts_max` limits how
    often a batch is tried while the ledger is away; None does not. `report_problem` is called when batches wait since
    access to the ledger is denied, and when none does any more.
    """

    def __init__(
        self,
        ledger: Transactions,
        rules: Rules,
        reach: Failpoint = no_failpoints,
        *,
        moves_offsets: bool = True,
        attempts_max: int | None = None,
        report_problem: ReportProblem = ignore_problem,
    ) -> None:
        self.positions: Positions = {}
        self.retries = 0
        self._ledger = ledger
        self._rules = rules
        self._reach = reach
        self._moves_offsets = moves_offsets
        self._attempts_max = attempts_max
        self._report_problem = report_problem
        self._denied: dict[int, str] = {}
        self._records_at_once, self._wakes_at_once = BatchShare(), BatchShare()
        # The bound of one account, with one plan or wake; the two above are bounds of a transaction.
        self._unparked_at_once = BatchShare()

    async def process(
        self,
        records: Sequence[Record],
        abandon: asyncio.Event,
        trace: BatchTrace = UNTRACED,
        progressed: Callable[[], None] = lambda: None,
        is_current: Callable[[], bool] = always,
    ) -> Report:
        """Decides `records`, in their order, and commits; returns only once the ledger has them.

        Waits while the ledger is away. A batch that takes longer than a transaction may is halved, and so are the next
        ones, for a while. A batch that the ledger refuses is tried once more and then halved, until the one record at
        fault is a dead letter. `progressed` is called for each part that is committed. Raises `Abandoned` when
        `abandon` is set meanwhile, `OffsetsMoved` when the stored offsets are not the member's, or its positions are
        not `is_current` any more, and `ChainBroken` when records are missing before these.
        """
        whole = Report()

        async def attempt(part: Sequence[Record]) -> int:
            work = self._work_of(part, trace, is_current)
            try:
                report = await self._until_stored(work, abandon, can_be_less=len(part) > 1)
            except InputsRefused as error:
                log.warning("batch refused", events=len(part), **reason_of(error))
                raise
            _note(self._records_at_once, len(part), report)
            whole.add(report)
            return report.events

        async def give_up(record: Record, refusal: InputsRefused) -> None:
            reason = reason_of(refusal)
            letter = DeadLetter(record, reason["reason"], reason["detail"])
            work = _Work([], (), [letter], self._work_of([record], trace, is_current).next_offsets, trace, is_current)
            whole.add(await self._until_stored(work, abandon))

        await isolate(
            records,
            attempt,
            give_up,
            InputsRefused,
            attempts=2,
            at_once=self._records_at_once.of,
            progressed=progressed,
        )
        return whole

    async def wake(
        self, wakes: Sequence[Wake], abandon: asyncio.Event, is_current: Callable[[], bool] = always
    ) -> Report:
        """Runs due timers, and decides the parked events of accounts that have a plan.

        Wakes that fail together are tried one by one; one that fails alone is logged, and is due again later. Wakes
        that take longer than a transaction may are halved; a single one then runs fewer timers of its account.
        Raises `Abandoned`, and `OffsetsMoved` when the member's positions are not `is_current` any more.
        """
        report = Report()
        while left := wakes[report.wakes :]:
            some = left[: self._wakes_at_once.of(len(left))]
            done = await self._wake_first(some, abandon, is_current)
            if not done.failed:
                _note(self._wakes_at_once, len(some), done)
            report.add(done)
        return report

    @property
    def _unparked_max(self) -> int:
        """How many parked events of an account one transaction decides."""
        return self._unparked_at_once.of(self._rules.unparked_max)

    async def _wake_first(
        self, wakes: Sequence[Wake], abandon: asyncio.Event, is_current: Callable[[], bool]
    ) -> Report:
        """Runs all wakes, or none of them where they are too many for one transaction."""
        try:
            report = await self._until_stored(_Work(wakes, is_current=is_current), abandon, can_be_less=True)
        except InputsRefused as error:
            log.exception("wake failed", accounts=len(wakes), **reason_of(error))
            if len(wakes) == 1:
                return Report(wakes=1, failed={wakes[0].account_id})
            report = Report()
            for wake in wakes:
                report.add(await self._wake_first([wake], abandon, is_current))
            return report
        if not report.ran_out:
            report.wakes = len(wakes)
        elif len(wakes) == 1:
            return await self._wake_less(wakes[0], abandon, is_current)
        return report

    async def _wake_less(self, wake: Wake, abandon: asyncio.Event, is_current: Callable[[], bool]) -> Report:
        if wake.timers_max > 1:
            return await self._wake_first([replace(wake, timers_max=wake.timers_max // 2)], abandon, is_current)
        if self._unparked_max > 1:
            return await self._wake_first([wake], abandon, is_current)
        log.error("wake failed", accounts=1, reason="out-of-time")
        return Report(wakes=1, failed={wake.account_id})

    async def _until_stored(self, work: _Work, abandon: asyncio.Event, *, can_be_less: bool = False) -> Report:
        """Retries with capped back-off until the work is stored.

        Work that `can_be_less` is given up once it runs out of time; the report then has `ran_out`.
        """
        try:
            return await self._attempt(work, abandon, can_be_less=can_be_less)
        finally:
            self._note_denied(work, None)

    async def _attempt(self, work: _Work, abandon: asyncio.Event, *, can_be_less: bool) -> Report:
        report = Report()
        for pause_seconds in backoff_seconds():
            if abandon.is_set():
                raise Abandoned
            try:
                await self._store(work, report)
            except LedgerUnavailable as error:
                report.retries += 1
                self.retries += 1
                log.warning("ledger unavailable, batch waits", cause=str(error), retries=report.retries)
                self._note_denied(work, str(error) if isinstance(error, AccessDenied) else None)
                report.ran_out = can_be_less and isinstance(error, OutOfTime)
                if isinstance(error, OutOfTime):
                    self._unparked_at_once.ran_out(self._unparked_max)
                if report.retries == self._attempts_max and not report.ran_out:
                    raise
            else:
                return report
            if await is_set_within(abandon, with_jitter(pause_seconds)):
                raise Abandoned
            if report.ran_out:
                return report
        raise AssertionError  # the pauses have no end

    def _note_denied(self, work: _Work, problem: str | None) -> None:
        """Notes the problem of one batch; others may be stored while it waits."""
        was = self._denied.pop(id(work), None)
        if problem is not None:
            self._denied[id(work)] = problem
        if was != problem:
            self._report_problem(next(iter(self._denied.values()), None))

    async def _store(self, work: _Work, report: Report) -> None:
        """Stores all or the first part of the work in one transaction, after transactions for the turns before it."""
        is_stored = False
        while not is_stored:
            with work.trace.transaction() as traced:
                is_stored = await self._store_once(work, _StepClock(report.seconds, traced), report)

    async def _store_once(self, work: _Work, clock: "_StepClock", report: Report) -> bool:
        self._reach("before-transaction")
        expected = {partition: self.positions[partition] for partition in work.next_offsets}
        async with self._ledger.transaction() as transaction:
            if not work.is_current():
                raise OffsetsMoved
            await transaction.lock_offsets(expected)
            unparked_max = self._unparked_max
            rules = self._rules
            if unparked_max < rules.unparked_max:
                rules = replace(rules, unparked_max=unparked_max)
            folded = await fold(transaction, work.inputs, rules, clock.step)
            what = folded.what
            is_taken = folded.taken > 0 or not work.inputs
            if is_taken:
                work = self._first_part(work, folded.taken)
                waited = {id(letter.record.content) for letter in what.dead_letters}
                refused = [one for one in what.decided.refused if id(one.incoming) not in waited]
                what.dead_letters = [*work.letters, *_refused(refused, work.records), *what.dead_letters]
                what.next_offsets = work.next_offsets
            if traceparents := work.trace.traceparents:
                trace(what.outbox, what.decided, traceparents)
                what.is_traced = True
            clock.step("decide")
            await transaction.store(what)
            clock.step("store")
            self._reach("inside-transaction")
        clock.step("commit")
        self._unparked_at_once.came_through(unparked_max)
        self._reach("after-commit")
        report.count(what)
        if is_taken:
            self.positions.update(work.next_offsets)
            report.events = len(work.records) or len(work.letters)
        return is_taken

    def _first_part(self, work: _Work, inputs: int) -> _Work:
        """The work before its first input that is left over; all of it if none is."""
        if inputs == len(work.inputs):
            return work
        left = id(work.inputs[inputs])
        records = next(n for n, record in enumerate(work.records) if id(record.content) == left)
        return self._work_of(work.records[:records], work.trace, work.is_current)

    def _work_of(self, records: Sequence[Record], trace: BatchTrace, is_current: Callable[[], bool]) -> _Work:
        inputs = [record.content for record in records if isinstance(record.content, Incoming)]
        letters = [
            DeadLetter(record, record.content.reason, record.content.detail)
            for record in records
            if isinstance(record.content, Unreadable)
        ]
        next_offsets = moved(records, self.positions) if self._moves_offsets else {}
        return _Work(inputs, records, letters, next_offsets, trace, is_current)


class _StepClock:
    """Adds the time since the last step to `seconds`, by step, and marks the step in the trace."""

    def __init__(self, seconds: dict[str, float], traced: MarkStep) -> None:
        self._seconds = seconds
        self._traced = traced
        self._last = time.perf_counter()

    def step(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now
        self._traced(name)


def _refused(refused: Sequence[Refused], records: Sequence[Record]) -> list[DeadLetter]:
    if not refused:
        return []
    at = {record.place: record for record in records}
    return [DeadLetter(at[r.incoming.place], r.reason, detail_of(r)) for r in refused]


def _note(share: BatchShare, number: int, report: Report) -> None:
    (share.ran_out if report.ran_out else share.came_through)(number)

"""Load, decide, store: the one way by which anything changes a balance."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter

import structlog

from credit_contracts.envelope import Unreadable
from credit_service.application.errors import (
    Abandoned,
    AccessDenied,
    LedgerUnavailable,
    OffsetsMoved,
    OutOfTime,
    RefusedByLedger,
)
from credit_service.application.ports import (
    DeadLetter,
    LedgerTransaction,
    Positions,
    ReportProblem,
    TopicPartition,
    ToStore,
    Transactions,
    ignore_problem,
)
from credit_service.application.processing.batch_share import Share
from credit_service.application.processing.chain import moved
from credit_service.application.processing.outbox_events import outbox_rows, trace
from credit_service.application.processing.parked_decision import RulesFailed, all_of_them, weigh
from credit_service.application.record import Record
from credit_service.application.tracing import UNTRACED, BatchTrace, Step
from credit_service.domain.catch_up import Input, next_portion
from credit_service.domain.decision import Refused
from credit_service.domain.event import Incoming, Place, Wake
from credit_service.domain.room import is_full
from credit_service.domain.rules import Rules
from credit_service.runtime.failpoints import Failpoint, no_failpoints

log = structlog.get_logger(__name__)

BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 5.0

REFUSALS = {
    "reserved-source": "the event's source is that of the service's own events",
    "conflict": "the same source and id were decided before with other content",
    "from-the-future": (
        "the event's time is more than 5 minutes ahead of the database's clock, or of its arrival in Kafka"
    ),
    "before-1970": "the event's time is before 1970",
    "account-full": "the numbers of this account are used up: of its decisions, balance changes, grants or credits",
    "parked-full": "too many events of this account wait for its first plan",
    "parked-too-long": "the account's first plan did not come in time",
}

REASONS_OF_FAULTS = ("refused-by-database", "undecidable")
"""Neither the message's fault nor its content's: `reason_of` says them."""

REASONS_OF_ACCOUNTS = ("account-full",)
"""Of all that is told of the account, whatever it is."""

REASONS_OF_WAITING = ("parked-full", "parked-too-long")
"""The account's first plan is missing: a plan that its producer is late with, or never sends."""

STEPS = ("load", "decide", "store", "commit")
"""What a batch's time is told by."""

FATE = attrgetter("type", "outcome")
REASON = attrgetter("reason")


def always() -> bool:
    """What has nothing that it stands on."""
    return True


class Undecidable(Exception):  # noqa: N818 - reads as the condition that it reports
    """The rules themselves failed on these events: a defect, which must not hold everybody else back."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What came of `inputs`, and is to be stored: they are the first `taken` of those at hand, or turns before them."""

    what: ToStore
    inputs: Sequence[Input]
    taken: int


async def fold(
    transaction: LedgerTransaction,
    inputs: Sequence[Incoming | Wake],
    rules: Rules,
    step: Callable[[str], None] = lambda _: None,
    *,
    in_one_go: bool = False,
) -> Folded:
    """Locks, loads and decides, storing nothing; `step` hears of each step that is done.

    Where `inputs` bring more turns of months than one transaction takes on, it decides the first part of them only, or
    turns that precede them (`next_portion`), unless all is wanted `in_one_go`. An event that waited, and on which the
    rules fail, is among the dead letters to be stored. Raises `Undecidable` and what the transaction raises.
    """
    by_turns = partial(next_portion, first_plan_age_months_max=rules.first_plan_age_months_max)
    choose = all_of_them if in_one_go or not rules.runs_timers else by_turns
    try:
        weighed = await weigh(transaction, inputs, rules, choose, lambda: step("load"))
    except RulesFailed as error:
        raise Undecidable(type(error.__cause__).__name__) from error.__cause__
    decided, letters = weighed.decided, weighed.letters
    what = ToStore(weighed.now, weighed.accounts, decided, outbox_rows(decided), letters)
    return Folded(what, *weighed.portion)


def reason_of(error: RefusedByLedger | Undecidable) -> dict[str, str]:
    """Reason and detail of what neither the rules nor the ledger take."""
    if isinstance(error, RefusedByLedger):
        detail = f"SQLSTATE {error.sqlstate}" + (f", {error.constraint}" if error.constraint else "")
        return {"reason": "refused-by-database", "detail": detail}
    return {"reason": "undecidable", "detail": str(error)}


@dataclass(slots=True)
class Report:
    """What became of one batch, for its log line and the metrics.

    `fates` are counted by type and outcome, `letters` by Kafka's topic and reason, `reasons` are those of changes.
    `wakes` were dealt with, and of them those of the accounts `failed`. `ran_out`: nothing is stored, since it was too
    much for one transaction's time. `became_letters` has the reason of each of its messages that became a dead letter,
    `left_out` counts those that are kept without their bytes, by Kafka's topic.
    """

    events: int = 0
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    retries: int = 0
    misplaced: Counter[str] = field(default_factory=Counter)
    wakes: int = 0
    failed: set[str] = field(default_factory=set)
    refused: set[Place] = field(default_factory=set)
    became_letters: dict[Place, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    lagging_accounts: set[str] = field(default_factory=set)
    ran_out: bool = False

    @property
    def outcomes(self) -> Counter[str]:
        """What became of the events and timers, whatever their type."""
        return _summed(self.fates)

    @property
    def failed_wakes(self) -> int:
        """The accounts whose timers failed."""
        return len(self.failed)

    @property
    def changes(self) -> int:
        """How many balance changes were recorded."""
        return self.reasons.total()

    @property
    def dead_letters(self) -> Counter[str]:
        """The dead letters by reason, whatever their topic."""
        return _summed(self.letters)

    def add(self, other: "Report") -> None:
        """Takes in what another part of the same batch brought."""
        self.events += other.events
        self.fates.update(other.fates)
        self.reasons.update(other.reasons)
        self.letters.update(other.letters)
        for step, seconds in other.seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds
        self.retries += other.retries
        self.misplaced.update(other.misplaced)
        self.wakes += other.wakes
        self.failed |= other.failed
        self.refused |= other.refused
        self.became_letters |= other.became_letters
        self.left_out.update(other.left_out)
        self.lagging_accounts |= other.lagging_accounts


def _summed(counts: Counter[tuple[str, str]]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for (_, what), count in counts.items():
        summed[what] += count
    return summed


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be decided and stored together."""

    inputs: Sequence[Incoming | Wake]
    records: Sequence[Record] = ()
    letters: Sequence[DeadLetter] = ()
    next_offsets: Mapping[TopicPartition, int] = field(default_factory=dict)
    trace: BatchTrace = UNTRACED
    stands: Callable[[], bool] = always


class Processor:
    """Takes batches through the ledger, one transaction each, and keeps `positions` as the ledger has them.

    Without `moves_offsets` the stored offsets are left alone: what it takes was read before, and comes once more.
    `attempts_max`: so often a batch is tried on a ledger that is away; without it for as long as that takes.
    `tell` hears why batches wait for a person to let the service at the ledger, and that none does any more.
    """

    def __init__(
        self,
        ledger: Transactions,
        rules: Rules,
        reach: Failpoint = no_failpoints,
        *,
        moves_offsets: bool = True,
        attempts_max: int | None = None,
        tell: ReportProblem = ignore_problem,
    ) -> None:
        self.positions: Positions = {}
        self.retries = 0
        self._ledger = ledger
        self._rules = rules
        self._reach = reach
        self._moves_offsets = moves_offsets
        self._attempts_max = attempts_max
        self._tell = tell
        self._denied: dict[int, str] = {}
        self._records_at_once, self._wakes_at_once = Share(), Share()
        # Of an account, with one plan or wake; the two above are of a transaction.
        self._unparked_at_once = Share()

    async def process(
        self,
        records: Sequence[Record],
        abandon: asyncio.Event,
        trace: BatchTrace = UNTRACED,
        has_come: Callable[[], None] = lambda: None,
        stands: Callable[[], bool] = always,
    ) -> Report:
        """Decides `records`, in their order, and commits; returns only once the ledger has them.

        Waits out a ledger that is away. What takes longer than a transaction may is halved, and so is what comes after
        it, for a while. What the ledger refuses is tried once more and then halved, until the one record at fault is a
        dead letter. `has_come` is called for each part that the ledger has. Raises `Abandoned` when `abandon` is set
        meanwhile, and `OffsetsMoved` when the ledger is not where this member believes it to be, or it no longer
        `stands` that it is, and `ChainBroken` when records are missing before these.
        """
        report = Report()
        while left := records[report.events :]:
            done = await self._process_first(left[: self._records_at_once.of(len(left))], abandon, trace, stands)
            if done.events:
                has_come()
            report.add(done)
        return report

    async def _process_first(
        self, records: Sequence[Record], abandon: asyncio.Event, trace: BatchTrace, stands: Callable[[], bool]
    ) -> Report:
        """As `process`, of as many of `records` as the ledger takes together; the report says how many that are."""
        work = self._work_of(records, trace, stands)
        for _ in range(2):
            try:
                report = await self._until_stored(work, abandon, can_be_less=len(records) > 1)
            except (RefusedByLedger, Undecidable) as error:
                refusal = error
                log.warning("batch refused", events=len(records), **reason_of(error))
            else:
                _note(self._records_at_once, len(records), report)
                return report
        if len(records) == 1:
            reason = reason_of(refusal)
            letter = DeadLetter(records[0], reason["reason"], reason["detail"])
            return await self._until_stored(_Work([], (), [letter], work.next_offsets, trace, stands), abandon)
        return await self.process(records[: len(records) // 2], abandon, trace, stands=stands)

    async def wake(self, wakes: Sequence[Wake], abandon: asyncio.Event, stands: Callable[[], bool] = always) -> Report:
        """Lets due timers happen, and has parked events of accounts with a plan decided.

        Wakes that fail together are tried one by one; one that fails alone is logged, and is due again later. Those
        that take longer than a transaction may are halved, and one alone brings about fewer timers of its account.
        Raises `Abandoned`, and `OffsetsMoved` when it no longer `stands` that the ledger has what was read before.
        """
        report = Report()
        while left := wakes[report.wakes :]:
            some = left[: self._wakes_at_once.of(len(left))]
            done = await self._wake_first(some, abandon, stands)
            if not done.failed:
                _note(self._wakes_at_once, len(some), done)
            report.add(done)
        return report

    @property
    def _unparked_max(self) -> int:
        """So many events that waited one transaction lets in, of an account."""
        return self._unparked_at_once.of(self._rules.unparked_max)

    async def _wake_first(self, wakes: Sequence[Wake], abandon: asyncio.Event, stands: Callable[[], bool]) -> Report:
        """As `wake`, of all of them or, where they are too many for one transaction, of none."""
        try:
            report = await self._until_stored(_Work(wakes, stands=stands), abandon, can_be_less=True)
        except (RefusedByLedger, Undecidable) as error:
            log.exception("wake failed", accounts=len(wakes), **reason_of(error))
            if len(wakes) == 1:
                return Report(wakes=1, failed={wakes[0].account_id})
            report = Report()
            for wake in wakes:
                report.add(await self._wake_first([wake], abandon, stands))
            return report
        if not report.ran_out:
            report.wakes = len(wakes)
        elif len(wakes) == 1:
            return await self._wake_less(wakes[0], abandon, stands)
        return report

    async def _wake_less(self, wake: Wake, abandon: asyncio.Event, stands: Callable[[], bool]) -> Report:
        if wake.timers_max > 1:
            return await self._wake_first([replace(wake, timers_max=wake.timers_max // 2)], abandon, stands)
        if self._unparked_max > 1:
            return await self._wake_first([wake], abandon, stands)
        log.error("wake failed", accounts=1, reason="out-of-time")
        return Report(wakes=1, failed={wake.account_id})

    async def _until_stored(self, work: _Work, abandon: asyncio.Event, *, can_be_less: bool = False) -> Report:
        """Attempts until the ledger has it; the pauses between grow, up to a bound.

        What `can_be_less` is given up once it has run out of time, and the report says so.
        """
        try:
            return await self._attempt(work, abandon, can_be_less=can_be_less)
        finally:
            self._note_denied(work, None)

    async def _attempt(self, work: _Work, abandon: asyncio.Event, *, can_be_less: bool) -> Report:
        pause_seconds = BACKOFF_SECONDS_FIRST
        report = Report()
        while True:
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
            if await _is_set_within(abandon, random.uniform(0.5, 1) * pause_seconds):  # noqa: S311 - jitter
                raise Abandoned
            if report.ran_out:
                return report
            pause_seconds = min(pause_seconds * 2, BACKOFF_SECONDS_MAX)

    def _note_denied(self, work: _Work, problem: str | None) -> None:
        """Of the batches that are in hand, one may wait while another comes through."""
        was = self._denied.pop(id(work), None)
        if problem is not None:
            self._denied[id(work)] = problem
        if was != problem:
            self._tell(next(iter(self._denied.values()), None))

    async def _store(self, work: _Work, report: Report) -> None:
        """One transaction, of all or the first part of the work; before it others of their own for turns before it."""
        is_stored = False
        while not is_stored:
            with work.trace.transaction() as traced:
                is_stored = await self._store_once(work, _StepClock(report.seconds, traced), report)

    async def _store_once(self, work: _Work, clock: "_StepClock", report: Report) -> bool:
        self._reach("before-transaction")
        expected = {partition: self.positions[partition] for partition in work.next_offsets}
        async with self._ledger.transaction() as transaction:
            if not work.stands():
                raise OffsetsMoved
            await transaction.lock_offsets(expected)
            unparked_max = self._unparked_max
            rules = self._rules
            if unparked_max < rules.unparked_max:
                rules = replace(rules, unparked_max=unparked_max)
            folded = await fold(transaction, work.inputs, rules, clock.step)
            what = folded.what
            has_come = folded.taken > 0 or not work.inputs
            if has_come:
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
        _count(report, what)
        if has_come:
            self.positions.update(work.next_offsets)
            report.events = len(work.records) or len(work.letters)
        return has_come

    def _first_part(self, work: _Work, inputs: int) -> _Work:
        """The work up to its first input that is left; all of it if none is."""
        if inputs == len(work.inputs):
            return work
        left = id(work.inputs[inputs])
        records = next(n for n, record in enumerate(work.records) if id(record.content) == left)
        return self._work_of(work.records[:records], work.trace, work.stands)

    def _work_of(self, records: Sequence[Record], trace: BatchTrace, stands: Callable[[], bool]) -> _Work:
        inputs = [record.content for record in records if isinstance(record.content, Incoming)]
        letters = [
            DeadLetter(record, record.content.reason, record.content.detail)
            for record in records
            if isinstance(record.content, Unreadable)
        ]
        next_offsets = moved(records, self.positions) if self._moves_offsets else {}
        return _Work(inputs, records, letters, next_offsets, trace, stands)


class _StepClock:
    """Adds the time since the last step to `seconds`, by step, and tells the trace."""

    def __init__(self, seconds: dict[str, float], traced: Step) -> None:
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


def detail_of(refused: Refused) -> str:
    """What is said of it beside its reason."""
    return refused.detail or REFUSALS[refused.reason]


def _count(report: Report, what: ToStore) -> None:
    decided = what.decided
    report.fates.update(map(FATE, decided.decisions))
    report.fates.update((incoming.type, "duplicate") for incoming in decided.duplicates)
    report.fates.update((incoming.type, "parked") for incoming in decided.parked)
    report.reasons.update(map(REASON, decided.changes))
    report.refused |= {refused.incoming.place for refused in decided.refused}
    report.became_letters |= {letter.record.place: letter.reason for letter in what.dead_letters}
    report.left_out.update(what.left_out)
    report.letters.update((letter.record.place.topic, letter.reason) for letter in what.dead_letters)
    report.lagging_accounts |= {a.account_id for a in what.accounts.values() if a.can_unpark and not is_full(a)}


def _note(share: Share, number: int, report: Report) -> None:
    (share.ran_out if report.ran_out else share.came_through)(number)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

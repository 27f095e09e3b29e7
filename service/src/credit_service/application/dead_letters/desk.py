"""The desk for dead letters: people retry them the way of every event, discard or erase them, by these calls."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ParamSpec, TypeVar

from credit_contracts.envelope import Unreadable
from credit_service import bounds
from credit_service.application.commands.execute import ATTEMPTS_MAX, BACKOFF_SECONDS_FIRST
from credit_service.application.commands.read_progress import Reading, told_behind
from credit_service.application.dead_letters.left_out import LeftOut, NoOriginals, NotRead, Originals
from credit_service.application.dead_letters.model import (
    TAKEN_APART,
    Became,
    CannotTakeApart,
    LetterAnswer,
    LetterRecord,
    Letters,
    LetterState,
    LetterStore,
    LetterTransaction,
    PassedOver,
    TakesApart,
    portions_of,
)
from credit_service.application.errors import LedgerUnavailable, OutOfTime, RefusedByLedger
from credit_service.application.operations import Json, OperationLog, recorded
from credit_service.application.processing.batch_share import Share
from credit_service.application.processing.processor import Processor, Undecidable, detail_of, fold, reason_of
from credit_service.application.record import TOO_LARGE_BATCH, Record, is_batch
from credit_service.application.text_limits import OPERATOR_CHARACTERS_MAX, REASON_CHARACTERS_MAX, require_text
from credit_service.domain.decided import Decided
from credit_service.domain.event import Incoming, Order, Place
from credit_service.domain.rules import Rules
from credit_service.runtime.failpoints import Failpoint, no_failpoints

BEHIND = "behind"
"""Why a letter waits on whose account's events are not read yet; what it was a dead letter for stays its reason."""

IDS_MAX = 1_000
"""So many numbers one command takes."""

T = TypeVar("T")
P = ParamSpec("P")


class _NotKept(Exception):  # noqa: N818 - not an error
    """Ends a transaction that was only tried."""


@dataclass(slots=True)
class _Tally:
    """Adds up what became of letters, for the record of the operation."""

    counts: dict[str, Json]

    def add(self, answers: Sequence[LetterAnswer]) -> None:
        for answer in answers:
            before = self.counts.get(answer.became, 0)
            self.counts[answer.became] = (before if isinstance(before, int) else 0) + 1


@dataclass(frozen=True, slots=True)
class DeadLetterDesk:
    """Retries, discards and erases letters in `letters`; what is done to a whole group is kept in `operations`.

    Letters that are kept without their bytes are read from `originals`. `reading` tells whether the events of their
    accounts are read.
    """

    letters: LetterStore
    operations: OperationLog
    rules: Rules
    takes_apart: TakesApart
    reading: Reading
    reach: Failpoint = field(default=no_failpoints)
    originals: Originals = field(default_factory=NoOriginals)

    async def retry(
        self, which: Letters, *, operator: str, reason: str, dry_run: bool = False
    ) -> AsyncGenerator[list[LetterAnswer]]:
        """Takes letters the way of live events, in order of occurrence; what became of each, batch after batch.

        A letter is resolved in the transaction that decides it. One that again cannot be read or decided waits on, with
        why; one that the ledger refuses fails alone. Those that take longer than a transaction may are halved. One that
        is kept without its bytes has its place in that order by Kafka's time, and fails where Kafka does not have what
        it was made of any more. One of an account whose events are not read yet fails as `behind`, and is as it was. A
        batch that was too large to be
        unpacked is taken apart: its records are decided in transactions before the one that resolves it. No stored
        offset is touched. It is safe to do again after any end. With `dry_run` each letter is decided by itself, as
        things stand, a batch only unpacked, and nothing is kept. Raises `ValueError` on an empty or overlong text, and
        `LedgerUnavailable` if the ledger is away for longer than a few attempts: what became of the batch in hand is
        then not known.
        """
        _hold(operator, reason)
        async with self._recorded("dead-letters-retry", which, operator, reason, is_trial=dry_run) as tally:
            letters_max = 1 if dry_run else bounds.LETTERS_PER_BATCH_MAX
            at_once = Share()
            async for batch in self._in_order(which, await self.letters.last_id(), letters_max):
                answers = await self._retry(batch, at_once, operator, reason, dry_run=dry_run)
                tally.add(answers)
                yield answers

    async def discard(self, which: Letters, *, operator: str, reason: str) -> AsyncGenerator[list[LetterAnswer]]:
        """Ends letters without a decision, for good; what became of each, batch after batch.

        Raises as `retry` does.
        """
        _hold(operator, reason)
        async with self._recorded("dead-letters-discard", which, operator, reason, is_trial=False) as tally:
            async for batch in self._batches(which):
                ended = set(await _attempted(self.letters.discard, batch, operator, reason))
                answers = [LetterAnswer(dead_letter_id=i, became="discarded") for i in batch if i in ended]
                answers += await self._found([i for i in batch if i not in ended])
                tally.add(answers)
                yield answers

    async def erase(self, ids: Sequence[int], *, operator: str) -> list[LetterAnswer]:
        """Takes key, value and headers out of letters, for good; one that waits cannot be retried any more.

        What has been published of it stays in Kafka for as long as its topic keeps it. Raises `ValueError` on an empty
        or overlong text, and `LedgerUnavailable`.
        """
        require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
        erased = set(await _attempted(self.letters.erase, ids, operator))
        standings = await self.letters.standings(ids)
        became: dict[int, Became] = {i: "erased" if i in erased else "erased-before" for i in standings}
        return [LetterAnswer(dead_letter_id=i, became=became.get(i, "unknown")) for i in ids]

    @asynccontextmanager
    async def _recorded(
        self, kind: str, which: Letters, operator: str, reason: str, *, is_trial: bool
    ) -> AsyncIterator[_Tally]:
        if is_trial or which.ids is not None:
            yield _Tally({})
            return
        async with recorded(self.operations, kind, operator, reason, which.arguments) as operation:
            yield _Tally(operation.result)

    async def _in_order(self, which: Letters, up_to: int, letters_max: int) -> AsyncGenerator[list[int]]:
        """The numbers of what waits, in order of occurrence, in batches; then those of `which` that wait no more."""
        seen: set[int] = set()
        last: _Key | None = None
        while True:
            found: list[_Key] = []
            async for block in self.letters.waiting(which, up_to):
                found += [key for key in map(_key, block) if last is None or key > last]
                if len(found) > 2 * bounds.LETTERS_ORDERED_MAX:
                    found = sorted(found)[: bounds.LETTERS_ORDERED_MAX]
            found = sorted(found)[: bounds.LETTERS_ORDERED_MAX]
            for batch in _batches_of(found, letters_max):
                seen.update(batch if which.ids is not None else ())
                yield batch
            if len(found) < bounds.LETTERS_ORDERED_MAX:
                break
            last = found[-1]
        if left := [i for i in which.ids or () if i not in seen]:
            yield left

    async def _batches(self, which: Letters) -> AsyncGenerator[Sequence[int]]:
        if which.ids is not None:
            yield which.ids
            return
        after, up_to = 0, await self.letters.last_id()
        while ids := await self.letters.waiting_ids(which, after, up_to, bounds.LETTER_IDS_READ_MAX):
            yield ids
            after = ids[-1]

    async def _retry(
        self, ids: Sequence[int], at_once: Share, operator: str, comment: str, *, dry_run: bool
    ) -> list[LetterAnswer]:
        """One batch, in the order of `ids`; what the rules or the ledger refuse is halved until one is at fault."""
        answers: dict[int, LetterAnswer] = {}

        read: dict[Place, Record | NotRead] = {}
        known = _HowFarRead(self.reading)

        async def halve(part: Sequence[int]) -> None:
            for _ in range(2):
                try:
                    await _tried(
                        lambda: self._decide(part, answers, read, known, operator, comment, dry_run=dry_run),
                        can_be_less=len(part) > 1,
                    )
                except (RefusedByLedger, Undecidable) as error:
                    refusal = error
                else:
                    return
            if len(part) == 1:
                answers[part[0]] = await _attempted(self._fail, part[0], dry_run=dry_run, **reason_of(refusal))
                return
            await halve(part[: len(part) // 2])
            await halve(part[len(part) // 2 :])

        nth = 0
        while some := ids[nth : nth + at_once.of(len(ids) - nth)]:
            try:
                await halve(some)
            except OutOfTime:
                if len(some) == 1:
                    raise
                at_once.ran_out(len(some))
            else:
                at_once.came_through(len(some))
                nth += len(some)
        return [answers[i] for i in ids]

    async def _decide(
        self,
        ids: Sequence[int],
        answers: dict[int, LetterAnswer],
        read: dict[Place, Record | NotRead],
        known: "_HowFarRead",
        operator: str,
        comment: str,
        *,
        dry_run: bool,
    ) -> None:
        """Transactions until each of `ids` has its answer: one, or some before it for what has to come first.

        `read` has what Kafka had of letters that are kept without their bytes: it is asked between two transactions, as
        it is asked then how far the events of accounts are read.
        """
        while left := [i for i in ids if i not in answers]:
            told: dict[int, LetterAnswer] = {}
            batches: list[tuple[int, Record]] = []
            unread: dict[Place, LeftOut] = {}
            try:
                async with self.letters.transaction() as transaction:
                    self.reach("before-transaction")
                    locked = {letter.dead_letter_id: letter for letter in await transaction.lock_letters(left)}
                    letters = [locked[i] for i in left if i in locked]
                    unread = {
                        letter.record.place: letter.left_out
                        for letter in letters
                        if letter.left_out is not None and letter.record.place not in read
                    }
                    if unread:
                        raise _NotKept
                    batches = [(one.dead_letter_id, batch) for one in letters if (batch := _batch_of(one, read))]
                    of_batches = {number for number, _ in batches}
                    letters = [one for one in letters if one.dead_letter_id not in of_batches]
                    if known.has_to_ask(letters, read):
                        raise _NotKept
                    told = await self._decide_locked(transaction, letters, read, known, in_one_go=dry_run)
                    await transaction.resolve_letters(
                        [(i, a.outcome) for i, a in told.items() if a.outcome is not None], operator, comment
                    )
                    await transaction.fail_letters(
                        [(i, a.reason, a.detail or "") for i, a in told.items() if a.reason not in (None, BEHIND)]
                    )
                    self.reach("inside-transaction")
                    if dry_run:
                        raise _NotKept
            except _NotKept:
                pass
            if unread:
                read.update(await self.originals.read(unread))
                continue
            if await known.ask():
                continue
            self.reach("after-commit")
            answers.update(told)
            answers.update({a.dead_letter_id: a for a in await self._found([i for i in left if i not in locked])})
            for number, batch in batches:
                answers[number] = await self._take_apart(number, batch, known, operator, comment, dry_run=dry_run)

    async def _take_apart(
        self, number: int, batch: Record, known: "_HowFarRead", operator: str, comment: str, *, dry_run: bool
    ) -> LetterAnswer:
        """Decides each record of a batch at its own place, or makes a dead letter of it; what is too large stays."""
        rules = self.reading.rules(self.rules)
        processor = Processor(self.letters, rules, self.reach, moves_offsets=False, attempts_max=ATTEMPTS_MAX)
        left = 0
        try:
            async with self.takes_apart(batch) as records:
                for portion in portions_of(records):
                    left += sum(isinstance(one, PassedOver) for one in portion)
                    read = [one for one in portion if isinstance(one, Record)]
                    if (until := await known.latest_behind(read)) is not None:
                        return _failed(number, BEHIND, told_behind(until))
                    if not dry_run:
                        await processor.process(read, asyncio.Event())
        except CannotTakeApart as error:
            return await self._fail(number, dry_run=dry_run, reason=TOO_LARGE_BATCH.reason, detail=f"batch: {error}")
        if left:
            detail = f"batch: {left} of its records are too large to be read, the others are decided"
            return await self._fail(number, dry_run=dry_run, reason=TOO_LARGE_BATCH.reason, detail=detail)
        if not dry_run:
            async with self.letters.transaction() as transaction:
                if not await transaction.lock_letters([number]):
                    (answer,) = await self._found([number])
                    return answer
                await transaction.resolve_letters([(number, TAKEN_APART)], operator, comment)
        return LetterAnswer(dead_letter_id=number, became="resolved", outcome=TAKEN_APART)

    async def _decide_locked(
        self,
        transaction: LetterTransaction,
        letters: Sequence[LetterRecord],
        read: Mapping[Place, Record | NotRead],
        known: "_HowFarRead",
        *,
        in_one_go: bool,
    ) -> dict[int, LetterAnswer]:
        """Decides and stores; the answers of those that this is the end of. The others come in another transaction."""
        answers = {}
        events: list[tuple[int, Incoming]] = []
        for letter in letters:
            record = _record_of(letter, read)
            content = record if isinstance(record, NotRead) else record.content
            if letter.is_erased:
                answer = LetterAnswer(dead_letter_id=letter.dead_letter_id, became="erased-before")
            elif isinstance(content, Unreadable | NotRead):
                answer = _failed(letter.dead_letter_id, content.reason, content.detail)
            elif (until := known.until.get(content.account_id)) is not None:
                answer = _failed(letter.dead_letter_id, BEHIND, told_behind(until))
            else:
                events.append((letter.dead_letter_id, content))
                continue
            answers[letter.dead_letter_id] = answer
        if events:
            rules = self.reading.rules(self.rules)
            folded = await fold(transaction, [event for _, event in events], rules, in_one_go=in_one_go)
            await transaction.store(folded.what)
            were_decided = {id(item) for item in folded.inputs}
            came = [(i, event) for i, event in events if id(event) in were_decided]
            answers.update({a.dead_letter_id: a for a in _answers(came, folded.what.decided)})
        return answers

    async def _fail(self, dead_letter_id: int, *, dry_run: bool, reason: str, detail: str) -> LetterAnswer:
        if not dry_run:
            async with self.letters.transaction() as transaction:
                if not await transaction.lock_letters([dead_letter_id]):
                    (answer,) = await self._found([dead_letter_id])
                    return answer
                await transaction.fail_letters([(dead_letter_id, reason, detail)])
        return _failed(dead_letter_id, reason, detail)

    async def _found(self, ids: Sequence[int]) -> list[LetterAnswer]:
        """What was done to letters before."""
        if not ids:
            return []
        standings = await self.letters.standings(ids)
        return [_found(i, standings.get(i)) for i in ids]


@dataclass(slots=True)
class _HowFarRead:
    """How far the events of accounts are read, asked once of each; `until` None: far enough."""

    reading: Reading
    until: dict[str, datetime | None] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def has_to_ask(self, letters: Sequence[LetterRecord], read: Mapping[Place, Record | NotRead]) -> bool:
        """Whether there are accounts of which it is not known yet."""
        contents = [
            found.content for one in letters if not one.is_erased and isinstance(found := _record_of(one, read), Record)
        ]
        self.unknown = {one.account_id for one in contents if isinstance(one, Incoming)} - self.until.keys()
        return bool(self.unknown)

    async def ask(self) -> bool:
        """Asks, outside of a transaction, since it may wait; False if there was nothing to ask."""
        asked, self.unknown = self.unknown, set()
        behind = await self.reading.behind(asked)
        self.until.update({account_id: behind.get(account_id) for account_id in asked})
        return bool(asked)

    async def latest_behind(self, records: Sequence[Record]) -> datetime | None:
        """How far the accounts of `records` are read that are not read far enough; None if all are."""
        accounts = {record.content.account_id for record in records if isinstance(record.content, Incoming)}
        self.unknown = accounts - self.until.keys()
        await self.ask()
        return max((until for name in accounts if (until := self.until[name]) is not None), default=None)


_Key = tuple[Order, int, int]
"""Order of occurrence, the letter's number, and its size."""


def _key(letter: LetterRecord) -> _Key:
    return letter.record.order, letter.dead_letter_id, letter.record.size_bytes


def _batches_of(keys: Sequence[_Key], letters_max: int) -> list[list[int]]:
    batches: list[list[int]] = []
    size_bytes = 0
    for _, dead_letter_id, more_bytes in keys:
        if not batches or len(batches[-1]) >= letters_max or size_bytes + more_bytes > bounds.LETTER_BATCH_BYTES_MAX:
            batches.append([])
            size_bytes = 0
        batches[-1].append(dead_letter_id)
        size_bytes += more_bytes
    return batches


def _record_of(letter: LetterRecord, read: Mapping[Place, Record | NotRead]) -> Record | NotRead:
    """As it is kept; of one that is kept without its bytes, as Kafka has it."""
    return letter.record if letter.left_out is None else read[letter.record.place]


def _batch_of(letter: LetterRecord, read: Mapping[Place, Record | NotRead]) -> Record | None:
    record = _record_of(letter, read)
    return record if isinstance(record, Record) and is_batch(record) and not letter.is_erased else None


def _answers(events: Sequence[tuple[int, Incoming]], decided: Decided) -> list[LetterAnswer]:
    """What became of each event: its own decision, or none, since it is refused, parked, or a duplicate."""
    refused = {id(one.incoming): one for one in decided.refused}
    parked = {id(event) for event in decided.parked}
    # Of two letters with one key the first is decided; what waited elsewhere is decided under its own place.
    outcomes = {(d.account_id, d.key, d.place): d.outcome for d in decided.decisions}
    answers = []
    for dead_letter_id, event in events:
        if id(event) in refused:
            why = refused[id(event)]
            answers.append(_failed(dead_letter_id, why.reason, detail_of(why)))
            continue
        outcome: str | None = "parked" if id(event) in parked else None
        outcome = outcome or outcomes.pop((event.account_id, event.key, event.place), "duplicate")
        answers.append(LetterAnswer(dead_letter_id=dead_letter_id, became="resolved", outcome=outcome))
    return answers


def _failed(dead_letter_id: int, reason: str, detail: str) -> LetterAnswer:
    return LetterAnswer(dead_letter_id=dead_letter_id, became="failed", reason=reason, detail=detail)


def _found(dead_letter_id: int, standing: LetterState | None) -> LetterAnswer:
    if standing is None:
        return LetterAnswer(dead_letter_id=dead_letter_id, became="unknown")
    if standing.status == "resolved":
        return LetterAnswer(dead_letter_id=dead_letter_id, became="resolved-before", outcome=standing.outcome)
    if standing.status == "discarded":
        return LetterAnswer(dead_letter_id=dead_letter_id, became="discarded-before")
    # It came back to wait just now.
    return LetterAnswer(dead_letter_id=dead_letter_id, became="failed", detail="it has just come back")


def _hold(operator: str, reason: str) -> None:
    require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
    require_text("reason", reason, REASON_CHARACTERS_MAX)


async def _attempted(work: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
    """Tries a few times while the ledger is away."""
    return await _tried(lambda: work(*arguments, **named), can_be_less=False)


async def _tried(attempt: Callable[[], Awaitable[T]], *, can_be_less: bool) -> T:
    """As `_attempted`. Where it `can_be_less`, `OutOfTime` is raised at once."""
    pause_seconds = BACKOFF_SECONDS_FIRST
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await attempt()
        except LedgerUnavailable as error:
            if can_be_less and isinstance(error, OutOfTime):
                raise
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2
    return await attempt()

"""The retry of one batch of letters: each is decided in the transaction that ends it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from credit_contracts.envelope import Unreadable
from credit_service.application.commands.read_progress import ReadProgress, behind_message
from credit_service.application.dead_letters.answers import answers_before, answers_of, failed
from credit_service.application.dead_letters.left_out import LeftOut, NotRead, Originals
from credit_service.application.dead_letters.model import (
    TAKEN_APART,
    CannotTakeApart,
    LetterAnswer,
    LetterRecord,
    LetterStore,
    LetterTransaction,
    PassedOver,
    TakesApart,
    portions_of,
)
from credit_service.application.errors import InputsRefused, OutOfTime
from credit_service.application.isolate import isolate
from credit_service.application.processing.batch_share import BatchShare
from credit_service.application.processing.fold import fold
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.reasons import reason_of
from credit_service.application.record import TOO_LARGE_BATCH, Record, is_batch
from credit_service.application.retry import ATTEMPTS_MAX, retry
from credit_service.domain.event import Incoming, Place
from credit_service.domain.rules import Rules
from credit_service.runtime.failpoints import Failpoint

BEHIND = "behind"
"""The reason of a failed retry when the account's events are not read yet; the letter's own reason stays."""


class _LookUpFirst(Exception):  # noqa: N818 - not an error
    """Rolls back a transaction that has only locked: a commit would wait for the disk, and for a replica."""


@dataclass(slots=True)
class _Attempt:
    """The result of one transaction. `missing` are letters that do not wait any more.

    Nothing is decided where `unread` bytes, or how far accounts are read, have to be looked up first.
    """

    answers: dict[int, LetterAnswer] = field(default_factory=dict)
    batches: list[tuple[int, Record]] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    unread: Mapping[Place, LeftOut] = field(default_factory=dict)


@dataclass(slots=True)
class LetterRetry:
    """Retries one batch of letters; `answers` has those that are done.

    `read` has the records from Kafka of letters that are kept without their bytes, `progress` how far the events of
    accounts are read: both are looked up between two transactions, since that may take long.
    """

    letters: LetterStore
    rules: Rules
    takes_apart: TakesApart
    reading: ReadProgress
    reach: Failpoint
    originals: Originals
    operator: str
    comment: str
    dry_run: bool
    answers: dict[int, LetterAnswer] = field(default_factory=dict)
    read: dict[Place, Record | NotRead] = field(default_factory=dict)
    progress: "_AccountProgress" = field(init=False)

    def __post_init__(self) -> None:
        self.progress = _AccountProgress(self.reading)

    async def run(self, ids: Sequence[int], at_once: BatchShare) -> list[LetterAnswer]:
        """Retries the letters, in the order of `ids`, as many together as a transaction has the time for."""
        done = 0
        while part := ids[done : done + at_once.of(len(ids) - done)]:
            try:
                await self._isolated(part)
            except OutOfTime:
                if len(part) == 1:
                    raise
                at_once.ran_out(len(part))
            else:
                at_once.came_through(len(part))
                done += len(part)
        return [self.answers[i] for i in ids]

    async def _isolated(self, ids: Sequence[int]) -> None:
        """Retries letters together; those that the rules or the ledger refuse are halved until one is at fault."""

        async def attempt(part: Sequence[int]) -> int:
            await retry(lambda: self._decide(part), can_be_less=len(part) > 1)
            return len(part)

        async def give_up(number: int, refusal: InputsRefused) -> None:
            self.answers[number] = await retry(lambda: self._fail(number, **reason_of(refusal)))

        await isolate(ids, attempt, give_up, InputsRefused, attempts=2)

    async def _decide(self, ids: Sequence[int]) -> None:
        """Runs transactions until each of `ids` has its answer: one, after others for the turns that precede them."""
        while left := [i for i in ids if i not in self.answers]:
            attempt = await self._decide_once(left)
            if attempt.unread:
                self.read.update(await self.originals.read(attempt.unread))
                continue
            if await self.progress.look_up():
                continue
            self.reach("after-commit")
            self.answers.update(attempt.answers)
            self.answers.update({a.dead_letter_id: a for a in await answers_before(self.letters, attempt.missing)})
            for number, batch in attempt.batches:
                self.answers[number] = await self._take_apart(number, batch)

    async def _decide_once(self, ids: Sequence[int]) -> _Attempt:
        attempt = _Attempt()
        with suppress(_LookUpFirst):
            async with self.letters.transaction(keep=not self.dry_run) as transaction:
                self.reach("before-transaction")
                await self._attempt(transaction, ids, attempt)
                self.reach("inside-transaction")
        return attempt

    async def _attempt(self, transaction: LetterTransaction, ids: Sequence[int], attempt: _Attempt) -> None:
        """Fills the `attempt`; raises `_LookUpFirst` where nothing can be decided yet."""
        locked = {letter.dead_letter_id: letter for letter in await transaction.lock_letters(ids)}
        attempt.missing = [i for i in ids if i not in locked]
        letters = [locked[i] for i in ids if i in locked]
        attempt.unread = {
            letter.record.place: letter.left_out
            for letter in letters
            if letter.left_out is not None and letter.record.place not in self.read
        }
        if attempt.unread:
            raise _LookUpFirst
        attempt.batches = [(one.dead_letter_id, batch) for one in letters if (batch := self._batch_of(one))]
        of_batches = {number for number, _ in attempt.batches}
        letters = [one for one in letters if one.dead_letter_id not in of_batches]
        if self.progress.has_unknown(self._accounts_of(letters)):
            raise _LookUpFirst
        attempt.answers = await self._decide_locked(transaction, letters)
        answers = attempt.answers.items()
        await transaction.resolve_letters(
            [(i, a.outcome) for i, a in answers if a.outcome is not None], self.operator, self.comment
        )
        await transaction.fail_letters(
            [(i, a.reason, a.detail or "") for i, a in answers if a.reason not in (None, BEHIND)]
        )

    async def _decide_locked(
        self, transaction: LetterTransaction, letters: Sequence[LetterRecord]
    ) -> dict[int, LetterAnswer]:
        """Decides and stores; returns the answers of the decided letters. The others need another transaction."""
        answers = {}
        events: list[tuple[int, Incoming]] = []
        for letter in letters:
            record = self._record_of(letter)
            content = record if isinstance(record, NotRead) else record.content
            if letter.is_erased:
                answer = LetterAnswer(dead_letter_id=letter.dead_letter_id, became="erased-before")
            elif isinstance(content, Unreadable | NotRead):
                answer = failed(letter.dead_letter_id, content.reason, content.detail)
            elif (until := self.progress.until.get(content.account_id)) is not None:
                answer = failed(letter.dead_letter_id, BEHIND, behind_message(until))
            else:
                events.append((letter.dead_letter_id, content))
                continue
            answers[letter.dead_letter_id] = answer
        if events:
            rules = self.reading.rules(self.rules)
            folded = await fold(transaction, [event for _, event in events], rules, in_one_go=self.dry_run)
            await transaction.store(folded.what)
            inputs = {id(item) for item in folded.inputs}
            decided = [(i, event) for i, event in events if id(event) in inputs]
            answers.update({a.dead_letter_id: a for a in answers_of(decided, folded.what.decided)})
        return answers

    async def _take_apart(self, number: int, batch: Record) -> LetterAnswer:
        """Decides each record of a batch of Kafka, or makes a dead letter of it; records that are too large stay."""
        rules = self.reading.rules(self.rules)
        processor = Processor(self.letters, rules, self.reach, moves_offsets=False, attempts_max=ATTEMPTS_MAX)
        left = 0
        try:
            async with self.takes_apart(batch) as records:
                for portion in portions_of(records):
                    left += sum(isinstance(one, PassedOver) for one in portion)
                    read = [one for one in portion if isinstance(one, Record)]
                    if (until := await self.progress.latest_behind(read)) is not None:
                        return failed(number, BEHIND, behind_message(until))
                    if not self.dry_run:
                        await processor.process(read, asyncio.Event())
        except CannotTakeApart as error:
            return await self._fail(number, TOO_LARGE_BATCH.reason, f"batch: {error}")
        if left:
            detail = f"batch: {left} of its records are too large to be read, the others are decided"
            return await self._fail(number, TOO_LARGE_BATCH.reason, detail)
        if not self.dry_run:
            async with self.letters.transaction() as transaction:
                if not await transaction.lock_letters([number]):
                    (answer,) = await answers_before(self.letters, [number])
                    return answer
                await transaction.resolve_letters([(number, TAKEN_APART)], self.operator, self.comment)
        return LetterAnswer(dead_letter_id=number, became="resolved", outcome=TAKEN_APART)

    async def _fail(self, number: int, reason: str, detail: str) -> LetterAnswer:
        if not self.dry_run:
            async with self.letters.transaction() as transaction:
                if not await transaction.lock_letters([number]):
                    (answer,) = await answers_before(self.letters, [number])
                    return answer
                await transaction.fail_letters([(number, reason, detail)])
        return failed(number, reason, detail)

    def _record_of(self, letter: LetterRecord) -> Record | NotRead:
        """The record as it is kept; of a letter that is kept without its bytes, as Kafka has it."""
        return letter.record if letter.left_out is None else self.read[letter.record.place]

    def _batch_of(self, letter: LetterRecord) -> Record | None:
        record = self._record_of(letter)
        return record if isinstance(record, Record) and is_batch(record) and not letter.is_erased else None

    def _accounts_of(self, letters: Sequence[LetterRecord]) -> set[str]:
        records = [self._record_of(letter) for letter in letters if not letter.is_erased]
        return _accounts([record for record in records if isinstance(record, Record)])


@dataclass(slots=True)
class _AccountProgress:
    """How far the events of accounts are read, looked up once for each; `until` None: far enough."""

    reading: ReadProgress
    until: dict[str, datetime | None] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def has_unknown(self, accounts: set[str]) -> bool:
        """Whether some of the accounts have to be looked up."""
        self.unknown = accounts - self.until.keys()
        return bool(self.unknown)

    async def look_up(self) -> bool:
        """Looks them up, outside of a transaction, since it may wait; False if there was nothing to look up."""
        unknown, self.unknown = self.unknown, set()
        behind = await self.reading.behind(unknown)
        self.until.update({account_id: behind.get(account_id) for account_id in unknown})
        return bool(unknown)

    async def latest_behind(self, records: Sequence[Record]) -> datetime | None:
        """The latest instant up to which an account that is behind is read; None if all are read far enough."""
        accounts = _accounts(records)
        self.has_unknown(accounts)
        await self.look_up()
        return max((until for name in accounts if (until := self.until[name]) is not None), default=None)


def _accounts(records: Sequence[Record]) -> set[str]:
    return {record.content.account_id for record in records if isinstance(record.content, Incoming)}

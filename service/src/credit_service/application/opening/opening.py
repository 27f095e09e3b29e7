"""Opens the accounts of an existing customer base, row by row in batches; it may be run again."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Literal, cast

from credit_service import bounds
from credit_service.application.commands.execute import execute
from credit_service.application.commands.read_progress import ReadProgress, behind_message
from credit_service.application.errors import OutOfTime, RefusedByLedger
from credit_service.application.isolate import isolate
from credit_service.application.opening.rows import RecordKind, RefusedRow, Row, RowRefusal
from credit_service.application.ports import Ledger
from credit_service.application.processing.batch_share import BatchShare
from credit_service.domain.command import Answer, Command, OpenAccount
from credit_service.domain.rules import Rules

if TYPE_CHECKING:
    from credit_service.application.opening.trial import TrialMemory


REFUSALS: Mapping[str, str] = {
    "has-a-plan": "the account has a plan already",
    "not-open": "the account has no plan: its own row was refused",
    "purchase-known": "the purchase is known already",
    "prospect-known": "the prospect is known already",
    "expired": "the purchase has expired",
    "account-full": "the numbers of the account are used up",
    "conflict": "it was brought in before with other content",
    "behind": "the account's events are not read yet",
}


@dataclass(slots=True)
class BatchOpened:
    """The results of the rows of one batch."""

    last_line: int
    opened: Counter[RecordKind] = field(default_factory=Counter)
    opened_before: Counter[RecordKind] = field(default_factory=Counter)
    refused: list[RefusedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _RowResult:
    """The result of one command: opened, or the reason of its refusal."""

    reason: RowRefusal | None = None
    detail: str = ""
    is_new: bool = True


class Opening:
    """Opens rows in `ledger`; with a `trial` all are decided and none is kept.

    Rows of accounts whose events are not read far enough are refused, as `reading` knows.
    """

    def __init__(
        self, ledger: Ledger, rules: Rules, trial: "TrialMemory | None" = None, reading: ReadProgress | None = None
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._reading = reading or ReadProgress(ledger)
        self._trial = trial
        self._account: Command | None = None
        self._at_once = BatchShare()
        self._left_open: Command | None = None

    @property
    def left_open(self) -> str | None:
        """The account whose rows are not all read yet: its events wait."""
        return self._left_open.account_id if self._left_open else None

    async def now(self) -> datetime:
        """The database's clock, the only one that counts."""
        async with self._ledger.transaction() as transaction:
            return await transaction.now()

    async def batches(self, rows: Iterable[Row | RefusedRow]) -> AsyncGenerator[BatchOpened]:
        """Decides the rows, batch after batch; a batch is committed before its results are returned.

        While an account may have more rows, its events wait: also after a run that ends before the end of `rows`, until
        the rows are given again. Raises `LedgerUnavailable`: the results of the current batch are then unknown, and it
        may be given again.
        """
        left = iter(rows)
        while batch := list(islice(left, bounds.OPENING_ROWS_PER_BATCH_MAX)):
            commands = [row.command for row in batch if isinstance(row, Row)]
            may_go_on = commands and len(batch) == bounds.OPENING_ROWS_PER_BATCH_MAX
            results = iter(await self._decide(commands, commands[-1].account_id if may_go_on else None))
            done = BatchOpened(batch[-1].line)
            for row in batch:
                if isinstance(row, RefusedRow):
                    done.refused.append(row)
                    continue
                result = next(results)
                if result.reason is not None:
                    account_id = row.command.account_id
                    done.refused.append(RefusedRow(row.line, account_id, row.record, result.reason, result.detail))
                else:
                    (done.opened if result.is_new else done.opened_before)[row.record] += 1
            yield done
        if self._left_open is not None:
            await self._do([], None)

    async def _decide(self, commands: Sequence[Command], goes_on: str | None) -> list[_RowResult]:
        """The result of each command; as many together as a transaction has the time for.

        The account that `goes_on` may have more rows after them.
        """
        results: list[_RowResult] = []
        while left := commands[len(results) :]:
            some = left[: self._at_once.of(len(left))]
            behind = left[len(some)].account_id if len(some) < len(left) else goes_on
            try:
                results += await self._decide_together(some, behind)
            except OutOfTime:
                if len(some) == 1:
                    raise
                self._at_once.ran_out(len(some))
            else:
                self._at_once.came_through(len(some))
        return results

    async def _decide_together(self, commands: Sequence[Command], goes_on: str | None) -> list[_RowResult]:
        """The result of each command; those that the ledger refuses are halved until the one at fault is alone."""
        results: list[_RowResult] = []

        async def attempt(part: Sequence[Command]) -> int:
            end = len(results) + len(part)
            behind = commands[end].account_id if end < len(commands) else goes_on
            results.extend(await (self._try(part, self._trial) if self._trial else self._do(part, behind)))
            return len(part)

        async def give_up(_: Command, refusal: RefusedByLedger) -> None:
            where = f", {refusal.constraint}" if refusal.constraint else ""
            detail = f"the database refuses it: SQLSTATE {refusal.sqlstate}{where}"
            results.append(_RowResult("refused-by-database", detail))

        await isolate(commands, attempt, give_up, RefusedByLedger)
        return results

    async def _do(self, commands: Sequence[Command], goes_on: str | None) -> list[_RowResult]:
        given = [replace(c, leaves_open=True) if c.account_id == goes_on else c for c in commands]
        can_be_less = len(commands) > 1
        answers = await execute(self._ledger, self._rules, given, self._reading, can_be_less=can_be_less)
        await self._end([answer.command for answer in answers if answer.outcome != "behind"], goes_on)
        return [_result(answer) for answer in answers]

    async def _end(self, decided: Sequence[Command], goes_on: str | None) -> None:
        """Ends the account that was left open, unless it `goes_on`, or one of the `decided` commands has ended it."""
        held = self._left_open
        if held is not None and held.account_id != goes_on:
            if not _is_of(held, decided):
                # Repeating its last row has no other effect: also while the account's events are not read.
                await execute(self._ledger, self._rules, [held], ReadProgress(self._ledger, as_it_stands=True))
            held = None
        last = next((command for command in reversed(decided) if command.account_id == goes_on), None)
        self._left_open = replace(last, leaves_open=False) if last is not None else held

    async def _try(self, commands: Sequence[Command], trial: "TrialMemory") -> list[_RowResult]:
        """The results that `_do` would have, if earlier trials had been kept."""
        before = trial.contents_of(commands)
        # Earlier trials were rolled back. The account is tried again, for its rows that follow.
        again = [self._account] if self._account and not _is_account(commands[0]) else []
        tried = [c for c, content in zip(commands, before, strict=True) if content is None or _is_account(c)]
        given, can_be_less = [*again, *tried], len(commands) > 1
        answered = await execute(self._ledger, self._rules, given, self._reading, dry_run=True, can_be_less=can_be_less)
        answers = answered[len(again) :]
        trial.note(answer.command for answer in answers if answer.outcome == "opened" and answer.is_new)
        self._account = next(filter(_is_account, reversed(commands)), self._account)
        outcome_of = iter(answers)
        results = []
        for command, content in zip(commands, before, strict=True):
            answer = next(outcome_of) if content is None or _is_account(command) else None
            if answer is not None and content is None:
                results.append(_result(answer))
            else:
                outcome: Literal["opened", "conflict"] = "opened" if content == command.content else "conflict"
                results.append(_result(Answer(command, outcome, is_new=False)))
        return results


def _is_of(left_open: Command, commands: Sequence[Command]) -> bool:
    return bool(commands) and commands[0].account_id == left_open.account_id


def _is_account(command: Command) -> bool:
    return isinstance(command.data, OpenAccount)


def _result(answer: Answer) -> _RowResult:
    if answer.outcome == "opened":
        return _RowResult(is_new=answer.is_new)
    detail = REFUSALS[answer.outcome] if answer.read_until is None else behind_message(answer.read_until)
    return _RowResult(cast("RowRefusal", answer.outcome), detail)

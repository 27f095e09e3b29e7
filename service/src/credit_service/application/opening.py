"""Brings an existing customer base in: rows in batches, each row to its answer, and safe to be run again."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, cast

from credit_service import bounds
from credit_service.application.faults import OutOfTime, RefusedByLedger
from credit_service.application.obey import obey
from credit_service.application.opening_rows import RecordKind, RefusedRow, Row, RowRefusal
from credit_service.application.ports import Ledger
from credit_service.application.share import Share
from credit_service.domain.command import Command, OpenAccount
from credit_service.domain.decide import Rules

if TYPE_CHECKING:
    from credit_service.application.opening_trial import TrialMemory


REFUSALS: Mapping[str, str] = {
    "has-a-plan": "the account has a plan already",
    "not-open": "the account has no plan: its own row was refused",
    "purchase-known": "the purchase is known already",
    "prospect-known": "the prospect is known already",
    "expired": "the purchase has expired",
    "conflict": "it was brought in before with other content",
}


@dataclass(slots=True)
class BatchOpened:
    """What became of the rows of one batch."""

    last_line: int
    opened: Counter[RecordKind] = field(default_factory=Counter)
    opened_before: Counter[RecordKind] = field(default_factory=Counter)
    refused: list[RefusedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of one command: brought in, or why not."""

    reason: RowRefusal | None = None
    detail: str = ""
    is_new: bool = True


class Opening:
    """Takes rows into `ledger`; with a `trial` all is decided and nothing kept there."""

    def __init__(self, ledger: Ledger, rules: Rules, trial: "TrialMemory | None" = None) -> None:
        self._ledger = ledger
        self._rules = rules
        self._trial = trial
        self._account: Command | None = None
        self._at_once = Share()

    async def now(self) -> datetime:
        """The database's clock, the only one that counts."""
        async with self._ledger.transaction() as transaction:
            return await transaction.now()

    async def batches(self, rows: Iterable[Row | RefusedRow]) -> AsyncGenerator[BatchOpened]:
        """Decides the rows, batch after batch; each is committed before it is told.

        Raises `LedgerUnavailable`: what became of the batch in hand is then not known, and it may be given again.
        """
        left = iter(rows)
        while batch := list(islice(left, bounds.OPENING_ROWS_PER_BATCH_MAX)):
            fates = iter(await self._decide([row.command for row in batch if isinstance(row, Row)]))
            done = BatchOpened(batch[-1].line)
            for row in batch:
                if isinstance(row, RefusedRow):
                    done.refused.append(row)
                    continue
                fate = next(fates)
                if fate.reason is not None:
                    account_id = row.command.account_id
                    done.refused.append(RefusedRow(row.line, account_id, row.record, fate.reason, fate.detail))
                else:
                    (done.opened if fate.is_new else done.opened_before)[row.record] += 1
            yield done

    async def _decide(self, commands: Sequence[Command]) -> list[_Fate]:
        """The fate of each; as many at a time as a transaction has the time for."""
        fates: list[_Fate] = []
        while left := commands[len(fates) :]:
            some = left[: self._at_once.of(len(left))]
            try:
                fates += await self._decide_together(some)
            except OutOfTime:
                if len(some) == 1:
                    raise
                self._at_once.ran_out(len(some))
            else:
                self._at_once.came_through(len(some))
        return fates

    async def _decide_together(self, commands: Sequence[Command]) -> list[_Fate]:
        """The fate of each; what the ledger refuses is halved until the one at fault is found."""
        try:
            return await (self._try(commands, self._trial) if self._trial else self._do(commands))
        except RefusedByLedger as error:
            if len(commands) == 1:
                where = f", {error.constraint}" if error.constraint else ""
                detail = f"the database refuses it: SQLSTATE {error.sqlstate}{where}"
                return [_Fate("refused-by-database", detail)]
        half = len(commands) // 2
        return [*await self._decide_together(commands[:half]), *await self._decide_together(commands[half:])]

    async def _do(self, commands: Sequence[Command]) -> list[_Fate]:
        answers = await obey(self._ledger, self._rules, commands, can_be_less=len(commands) > 1)
        return [_fate(answer.outcome, is_new=answer.is_new) for answer in answers]

    async def _try(self, commands: Sequence[Command], trial: "TrialMemory") -> list[_Fate]:
        """As `_do` would, had the trials before this one been kept."""
        before = trial.contents_of(commands)
        # What earlier trials opened was rolled back. Accounts are tried again, for the rows that follow them.
        again = [self._account] if self._account and not _is_account(commands[0]) else []
        tried = [c for c, content in zip(commands, before, strict=True) if content is None or _is_account(c)]
        given = [*again, *tried]
        answers = await obey(self._ledger, self._rules, given, dry_run=True, can_be_less=len(commands) > 1)
        answers = answers[len(again) :]
        trial.note(answer.command for answer in answers if answer.outcome == "opened" and answer.is_new)
        self._account = next(filter(_is_account, reversed(commands)), self._account)
        outcome_of = iter(answers)
        fates = []
        for command, content in zip(commands, before, strict=True):
            answer = next(outcome_of) if content is None or _is_account(command) else None
            if answer is not None and content is None:
                fates.append(_fate(answer.outcome, is_new=answer.is_new))
            else:
                fates.append(_fate("opened" if content == command.content else "conflict", is_new=False))
        return fates


def _is_account(command: Command) -> bool:
    return isinstance(command.data, OpenAccount)


def _fate(outcome: str, *, is_new: bool) -> _Fate:
    if outcome == "opened":
        return _Fate(is_new=is_new)
    return _Fate(cast("RowRefusal", outcome), REFUSALS[outcome])

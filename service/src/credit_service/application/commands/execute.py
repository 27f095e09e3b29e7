"""Commands go the way of every event: load, decide, store, in one transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from credit_service.application.commands.read_progress import Reading
from credit_service.application.errors import LedgerUnavailable, OutOfTime
from credit_service.application.ports import Ledger, ToStore
from credit_service.application.processing.outbox_events import outbox_rows
from credit_service.application.processing.parked_decision import all_of_them, weigh
from credit_service.domain.command import Answer, Command
from credit_service.domain.orders import portion_of_commands
from credit_service.domain.rules import Rules

ATTEMPTS_MAX = 5
BACKOFF_SECONDS_FIRST = 0.1

T = TypeVar("T")


class _NotKept(Exception):  # noqa: N818 - not an error
    """Ends a transaction that was only tried."""


async def execute(
    ledger: Ledger,
    rules: Rules,
    commands: Sequence[Command],
    reading: Reading | None = None,
    *,
    dry_run: bool = False,
    can_be_less: bool = False,
) -> list[Answer]:
    """Decides the commands in their order and commits; the answers, one each.

    Those of accounts whose events are not read yet, as `reading` says, are `behind`; it waits for them before. With
    `dry_run` nothing is kept. A command has an id, so that it may be given again after any fault; this is done here a
    few times, then `LedgerUnavailable` is raised. Where there `can_be_less` of them, `OutOfTime` is raised at once.
    """
    asked = reading or Reading(ledger)
    behind = await _attempted(lambda: asked.behind({command.account_id for command in commands}))
    ready = [command for command in commands if command.account_id not in behind]
    ordered = asked.rules(rules)
    answers = []
    if ready:
        answers = await _attempted(lambda: _obey(ledger, ordered, ready, dry_run=dry_run), can_be_less=can_be_less)
    decided = iter(answers)
    return [
        Answer(command, "behind", is_new=False, read_until=behind[command.account_id])
        if command.account_id in behind
        else next(decided)
        for command in commands
    ]


async def _attempted(call: Callable[[], Awaitable[T]], *, can_be_less: bool = False) -> T:
    pause_seconds = BACKOFF_SECONDS_FIRST
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await call()
        except LedgerUnavailable as error:
            if can_be_less and isinstance(error, OutOfTime):
                raise
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2
    return await call()


async def _obey(ledger: Ledger, rules: Rules, commands: Sequence[Command], *, dry_run: bool) -> list[Answer]:
    answers: list[Answer] | None = None
    while answers is None:
        try:
            async with ledger.transaction() as transaction:
                in_one_go = dry_run or not rules.runs_timers
                # What precedes them, and is too much to come along, has transactions of its own, but not for a trial.
                weighed = await weigh(transaction, commands, rules, all_of_them if in_one_go else portion_of_commands)
                decided = weighed.decided
                await transaction.store(
                    ToStore(weighed.now, weighed.accounts, decided, outbox_rows(decided), weighed.letters)
                )
                if len(decided.answers) == len(commands):
                    answers = decided.answers
                if dry_run:
                    raise _NotKept
        except _NotKept:
            pass
    return answers

"""Commands go the way of every event: load, decide, store, in one transaction."""

import asyncio
from collections.abc import Sequence

from credit_service.application.faults import LedgerUnavailable, OutOfTime
from credit_service.application.outgoing import outbox_rows
from credit_service.application.ports import Ledger, ToStore
from credit_service.domain.catch_up import next_portion
from credit_service.domain.command import Answer, Command
from credit_service.domain.decide import Rules, decide

ATTEMPTS_MAX = 5
BACKOFF_SECONDS_FIRST = 0.1


class _NotKept(Exception):  # noqa: N818 - not an error
    """Ends a transaction that was only tried."""


async def obey(
    ledger: Ledger, rules: Rules, commands: Sequence[Command], *, dry_run: bool = False, can_be_less: bool = False
) -> list[Answer]:
    """Decides the commands in their order and commits; the answers, one each.

    With `dry_run` nothing is kept. A command has an id, so that it may be given again after any fault; this is done
    here a few times, then `LedgerUnavailable` is raised. Where there `can_be_less` of them, `OutOfTime` is raised at
    once.
    """
    pause_seconds = BACKOFF_SECONDS_FIRST
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await _obey(ledger, rules, commands, dry_run=dry_run)
        except LedgerUnavailable as error:
            if can_be_less and isinstance(error, OutOfTime):
                raise
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2
    return await _obey(ledger, rules, commands, dry_run=dry_run)


async def _obey(ledger: Ledger, rules: Rules, commands: Sequence[Command], *, dry_run: bool) -> list[Answer]:
    answers: list[Answer] | None = None
    while answers is None:
        try:
            async with ledger.transaction() as transaction:
                accounts = await transaction.lock_and_load(commands)
                now = await transaction.now()
                # Turns that are too many to come along have transactions of their own, but not for a trial. Commands
                # are never cut: they are all of one instant, so that no turn lies between two of an account.
                inputs = commands if dry_run else next_portion(accounts, commands, now).inputs
                decided = decide(accounts, inputs, now, rules)
                await transaction.store(ToStore(now, accounts, decided, outbox_rows(decided)))
                if len(decided.answers) == len(commands):
                    answers = decided.answers
                if dry_run:
                    raise _NotKept
        except _NotKept:
            pass
    return answers

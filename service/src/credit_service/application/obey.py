"""Commands go the way of every event: load, decide, store, in one transaction."""

import asyncio
from collections.abc import Sequence

from credit_service.application.faults import LedgerUnavailable
from credit_service.application.outgoing import outbox_rows
from credit_service.application.ports import Ledger, ToStore
from credit_service.application.waited import all_of_them, weigh
from credit_service.domain.command import Answer, Command
from credit_service.domain.decide import Rules
from credit_service.domain.orders import portion_of_commands

ATTEMPTS_MAX = 5
BACKOFF_SECONDS_FIRST = 0.1


class _NotKept(Exception):  # noqa: N818 - not an error
    """Ends a transaction that was only tried."""


async def obey(ledger: Ledger, rules: Rules, commands: Sequence[Command], *, dry_run: bool = False) -> list[Answer]:
    """Decides the commands in their order and commits; the answers, one each.

    With `dry_run` nothing is kept. A command has an id, so that it may be given again after any fault; this is done
    here a few times, then `LedgerUnavailable` is raised.
    """
    pause_seconds = BACKOFF_SECONDS_FIRST
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await _obey(ledger, rules, commands, dry_run=dry_run)
        except LedgerUnavailable:
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2
    return await _obey(ledger, rules, commands, dry_run=dry_run)


async def _obey(ledger: Ledger, rules: Rules, commands: Sequence[Command], *, dry_run: bool) -> list[Answer]:
    answers: list[Answer] | None = None
    while answers is None:
        try:
            async with ledger.transaction() as transaction:
                # What precedes them, and is too much to come along, has transactions of its own, but not for a trial.
                weighed = await weigh(transaction, commands, rules, all_of_them if dry_run else portion_of_commands)
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

"""Commands go the way of every event: load, decide, store, in one transaction."""

from collections.abc import Sequence

from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.ports import Ledger
from credit_service.application.processing.fold import fold
from credit_service.application.retry import retry
from credit_service.domain.command import Answer, Command
from credit_service.domain.decide import Rules
from credit_service.domain.orders import portion_of_commands


async def execute(
    ledger: Ledger,
    rules: Rules,
    commands: Sequence[Command],
    reading: ReadProgress | None = None,
    *,
    dry_run: bool = False,
    can_be_less: bool = False,
) -> list[Answer]:
    """Decides the commands in their order and commits; the answers, one each.

    Those of accounts whose events are not read yet, as `reading` says, are `behind`; it waits for them before. With
    `dry_run` nothing is kept. A command has an id, so that it may be given again after any fault; this is done here a
    few times, then `LedgerUnavailable` is raised. Where there `can_be_less` of them, `OutOfTime` is raised at once.
    """
    asked = reading or ReadProgress(ledger)
    behind = await retry(lambda: asked.behind({command.account_id for command in commands}))
    ready = [command for command in commands if command.account_id not in behind]
    ordered = asked.rules(rules)
    answers = []
    if ready:
        answers = await retry(lambda: _decide(ledger, ordered, ready, dry_run=dry_run), can_be_less=can_be_less)
    decided = iter(answers)
    return [
        Answer(command, "behind", is_new=False, read_until=behind[command.account_id])
        if command.account_id in behind
        else next(decided)
        for command in commands
    ]


async def _decide(ledger: Ledger, rules: Rules, commands: Sequence[Command], *, dry_run: bool) -> list[Answer]:
    """Transactions until all commands have an answer: one, or some before it for what precedes them.

    What precedes them, and is too much to come along, has transactions of its own, but not for a trial.
    """
    while True:
        async with ledger.transaction(keep=not dry_run) as transaction:
            folded = await fold(transaction, commands, rules, choose=portion_of_commands, in_one_go=dry_run)
            await transaction.store(folded.what)
        answers = folded.what.decided.answers
        if len(answers) == len(commands):
            return answers

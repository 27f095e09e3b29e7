"""Commands go the way of every event: they are loaded, decided and stored in one transaction."""

from collections.abc import Sequence

from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.ports import Ledger
from credit_service.application.processing.fold import fold
from credit_service.application.retry import retry
from credit_service.domain.command import Answer, Command
from credit_service.domain.orders import portion_of_commands
from credit_service.domain.rules import Rules


async def execute(
    ledger: Ledger,
    rules: Rules,
    commands: Sequence[Command],
    reading: ReadProgress | None = None,
    *,
    dry_run: bool = False,
    can_be_less: bool = False,
) -> list[Answer]:
    """Decides the commands in their order and commits; returns an answer for each.

    It first waits until the events of the accounts are read, as `reading` knows; commands of accounts that are not read
    far enough then are `behind`. With `dry_run` nothing is kept. A command has an id, so that it may be repeated after
    any fault; a few attempts are made here, then `LedgerUnavailable` is raised. Where there `can_be_less` of them,
    `OutOfTime` is raised at once.
    """
    progress = reading or ReadProgress(ledger)
    behind = await retry(lambda: progress.behind({command.account_id for command in commands}))
    ready = [command for command in commands if command.account_id not in behind]
    in_force = progress.rules(rules)
    answers = []
    if ready:
        answers = await retry(lambda: _decide(ledger, in_force, ready, dry_run=dry_run), can_be_less=can_be_less)
    decided = iter(answers)
    return [
        Answer(command, "behind", is_new=False, read_until=behind[command.account_id])
        if command.account_id in behind
        else next(decided)
        for command in commands
    ]


async def _decide(ledger: Ledger, rules: Rules, commands: Sequence[Command], *, dry_run: bool) -> list[Answer]:
    """Runs transactions until all commands have an answer: one, after others for the turns that precede them.

    A dry run is one transaction, whatever precedes the commands.
    """
    while True:
        async with ledger.transaction(keep=not dry_run) as transaction:
            folded = await fold(transaction, commands, rules, choose=portion_of_commands, in_one_go=dry_run)
            await transaction.store(folded.what)
        answers = folded.what.decided.answers
        if len(answers) == len(commands):
            return answers

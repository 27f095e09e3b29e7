"""`credits dead-letters`: lists, shows, retries, discards and erases dead letters."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.dead_letters.display import each_line, groups_table, letter_text
from credit_service.cli.dead_letters.selection import count_and_show, group_of, in_words, letters_in, selected
from credit_service.cli.dead_letters.work import work_off
from credit_service.cli.shared.connections import reading_pool, settings_or_exit
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.operator_options import AsItStands, Operator, Reason, Yes, confirm
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.panels import DECIDE, LOOK
from credit_service.cli.shared.run import run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from credit_service.application.dead_letters.desk import DeadLetterDesk
    from credit_service.application.dead_letters.model import LetterAnswer, LetterGroup, Letters
    from credit_service.settings import Settings

LINES_DEFAULT = 100
LINES_MAX = 1_000_000

Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="Numbers of dead letters.", min=1)]
Id = Annotated[int, typer.Argument(metavar="ID", help="The number of a dead letter.", min=1)]
Topic = Annotated[str | None, typer.Option(help="All waiting letters of this incoming topic.", show_default=False)]
Because = Annotated[
    str | None, typer.Option(help="All waiting letters with this reason, such as bad-data.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All waiting letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would become of each, and write nothing.")]

app = typer.Typer(help="Messages that could not be read or decided.", no_args_is_help=True)


@app.callback()
def dead_letters() -> None:
    """Messages that could not be read or decided."""


@app.command("list", rich_help_panel=LOOK)
def list_letters(
    topic: Annotated[str | None, typer.Option(help="Only letters of this incoming topic.", show_default=False)] = None,
    because: Annotated[str | None, typer.Option(help="Only letters with this reason.", show_default=False)] = None,
    ended: Annotated[bool, typer.Option("--all", help="Also letters that are resolved or discarded.")] = False,
    each: Annotated[bool, typer.Option("--each", help="One line for each letter, the oldest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=LINES_MAX, help="With --each: at most this many.")] = LINES_DEFAULT,
    output: Output = Format.TEXT,
) -> None:
    """Show the waiting letters by topic and reason.

    Example: [cyan]credits dead-letters list[/]

    Example: [cyan]credits dead-letters list --topic plan-changed --each --limit 20[/]
    """
    settings = settings_or_exit()
    which = group_of(settings, topic, because)
    if each:
        run(_list_each(settings, which, waiting_only=not ended, limit=limit, output=output))
        return

    async def read() -> "list[LetterGroup]":
        async with reading_pool(settings) as pool:
            return await letters_in(settings, pool).groups(which, waiting_only=not ended)

    groups = run(read())
    if output is Format.JSON:
        for group in groups:
            put(group.model_dump_json())
    elif groups:
        from rich.console import Console

        Console(highlight=False, markup=False).print(groups_table(groups))
    else:
        say("No dead letters." if ended else "No dead letter waits.")


@app.command(rich_help_panel=LOOK)
def show(dead_letter_id: Id, output: Output = Format.TEXT) -> None:
    """Show all of one dead letter: bytes, headers, place, reason, and how it ended.

    Example: [cyan]credits dead-letters show 12[/]
    """
    settings = settings_or_exit()

    async def read() -> str:
        async with reading_pool(settings) as pool:
            found = await letters_in(settings, pool).letter(dead_letter_id)
        if found is None:
            raise WrongUse(f"there is no dead letter {dead_letter_id}")
        return found.model_dump_json() if output is Format.JSON else letter_text(found)

    put(run(read()))


@app.command(rich_help_panel=DECIDE)
def retry(
    reason: Reason,
    operator: Operator,
    ids: Ids = None,
    topic: Topic = None,
    because: Because = None,
    everything: All = False,
    dry_run: DryRun = False,
    as_it_stands: AsItStands = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Decide dead letters again as live events, in order of occurrence.

    A line for each letter says what became of it. The exit code is 1 if a letter still waits; its line says why. A
    second retry of a letter has no second effect, so the command is safe to repeat. While events of an account are
    unread, its letters are not changed.

    Example: [cyan]credits dead-letters retry 12 13 --reason "billing is fixed"[/]

    Example: [cyan]credits dead-letters retry --topic plan-changed --because bad-data --reason fixed --dry-run[/]
    """
    settings = settings_or_exit()
    which = selected(settings, ids, topic, because, everything=everything)
    count = count_and_show(settings, which)
    if not count:
        return 0
    if which.ids is None and not dry_run:
        confirm(f"Retry {in_words(count)}?", yes=yes)

    def work(desk: "DeadLetterDesk") -> "AsyncGenerator[list[LetterAnswer]]":
        return desk.retry(which, operator=operator, reason=reason, dry_run=dry_run)

    return work_off(settings, "resolved", work, count, output, is_trial=dry_run, as_it_stands=as_it_stands)


@app.command(rich_help_panel=DECIDE)
def discard(
    reason: Reason,
    operator: Operator,
    ids: Ids = None,
    topic: Topic = None,
    because: Because = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """End dead letters without a decision, for good: the letter stays, with who discarded it and why.

    The exit code is 1 if one of the letters was resolved before.

    Example: [cyan]credits dead-letters discard 12 --reason "sent by a test"[/]

    Example: [cyan]credits dead-letters discard --topic email-bounced --because not-json --reason "bad release"[/]
    """
    settings = settings_or_exit()
    which = selected(settings, ids, topic, because, everything=everything)
    count = count_and_show(settings, which)
    if dry_run or not count:
        say("Nothing was discarded.")
        return 0
    confirm(f"Discard {in_words(count)} for good?", yes=yes)

    def work(desk: "DeadLetterDesk") -> "AsyncGenerator[list[LetterAnswer]]":
        return desk.discard(which, operator=operator, reason=reason)

    return work_off(settings, "discarded", work, count, output)


@app.command(rich_help_panel=DECIDE)
def erase(
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="Numbers of dead letters.", min=1)],
    operator: Operator,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Erase the original bytes of dead letters for good: key, value and headers.

    A waiting letter cannot be retried afterwards. Its published copy stays in Kafka until retention deletes it.

    Example: [cyan]credits dead-letters erase 12 --yes[/]
    """
    settings = settings_or_exit()
    which = selected(settings, ids, None, None, everything=False)
    count = count_and_show(settings, which)
    confirm(f"Erase the bytes of {in_words(count)} for good?", yes=yes)

    async def work(desk: "DeadLetterDesk") -> "AsyncGenerator[list[LetterAnswer]]":
        yield await desk.erase(which.ids or (), operator=operator)

    return work_off(settings, "erased", work, count, output)


async def _list_each(settings: "Settings", which: "Letters", *, waiting_only: bool, limit: int, output: Format) -> None:
    async with reading_pool(settings) as pool:
        lines = letters_in(settings, pool).lines(which, waiting_only=waiting_only, limit=limit)
        async with aclosing(lines) as blocks:
            async for block in blocks:
                for line in block:
                    put(line.model_dump_json() if output is Format.JSON else each_line(line))

"""`credits explain`: explains a balance, a prospect or a message."""

import sys
from collections.abc import AsyncIterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service import bounds
from credit_service.cli.shared.connections import long_reading_connection, settings_or_exit
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.rows import write_whole
from credit_service.cli.shared.run import run
from credit_service.cli.shared.times import instant_of

if TYPE_CHECKING:
    from credit_service.application.explain.model import Explanation, MessageOutcome, ProspectHistory, Unexplained, When
    from credit_service.cli.explain.tree import Line
    from credit_service.settings import Settings

WIDTH_OF_A_PIPE = 10_000


def explain(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    at: Annotated[str | None, typer.Option(metavar="TIME", help="The balance as recorded at this time.")] = None,
    position: Annotated[int | None, typer.Option(min=1, help="The balance after the decision of this number.")] = None,
    prospect: Annotated[str | None, typer.Option(metavar="ID", help="The history of this prospect.")] = None,
    event: Annotated[
        tuple[str, str] | None, typer.Option(metavar="SOURCE ID", help="What became of this message.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Print every entry, however many there are.")] = False,
    output: Output = Format.TEXT,
) -> int:
    """Explain a balance: from its grants and their entries down to the messages that caused them.

    Long lists are shortened, with the sum of the omitted entries, so that the numbers add up; [cyan]--full[/] and
    [cyan]--output json[/] print everything. [cyan]--prospect[/] explains the history of one prospect, and
    [cyan]--event[/] what became of one message; the exit code is 1 if the service never saw it.

    Example: [cyan]credits explain acme --at 2026-03-31T23:59:59Z[/]
    """
    options = {"--at": at, "--position": position, "--prospect": prospect, "--event": event}
    given = [option for option, value in options.items() if value is not None]
    if len(given) > 1:
        raise WrongUse(f"{' and '.join(given)} exclude each other")
    if full and (prospect is not None or event is not None):
        raise WrongUse(f"--full: {given[0]} leaves nothing out")
    for text in (prospect, *(event or ())):
        _require_utf8(text)
    when = position if at is None else instant_of("--at", at)
    settings = settings_or_exit()
    if prospect is not None:
        return run(_explain_prospect(settings, account_id, prospect, output))
    if event is not None:
        return run(_explain_message(settings, account_id, *event, output))
    return run(_explain_account(settings, account_id, when, output, is_full=full))


def _require_utf8(text: str | None) -> None:
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise WrongUse(f"{text!r} is not UTF-8, and no id is like that") from None


async def _explain_account(
    settings: "Settings", account_id: str, when: "When", output: Format, *, is_full: bool
) -> int:
    from credit_service.cli.explain.json_document import document
    from credit_service.cli.explain.tree import lines_of_account
    from credit_service.postgres.explain.explain import PostgresExplains

    is_full |= output is Format.JSON
    async with long_reading_connection(settings) as connection:
        explains = PostgresExplains(connection, settings.topic_prefix)
        async with explains.account(account_id, when, is_full=is_full) as found:
            if isinstance(found, str):
                raise WrongUse(_why_not(found, account_id, when))
            if output is Format.JSON:
                await _stream(document(found), end="")
            elif is_full:
                await _stream(_indented(lines_of_account(found)), end="\n")
            else:
                _print_tree([line async for line in lines_of_account(found)])
            return _adds_up(found)


def _why_not(reason: "Unexplained", account_id: str, when: "When") -> str:
    if reason == "position-beyond":
        return f"--position {when}: the account {account_id!r} has no decision of this number yet"
    if reason == "in-the-future":
        return "--at: is in the future by the database's clock, and nothing is recorded there yet"
    return f"there is no account {account_id!r}"


def _adds_up(found: "Explanation") -> int:
    summary = found.summary
    if summary.balance in (None, summary.held):
        return 0
    say(
        f"The entries add up to {summary.held:,}, and {summary.balance:,} was published: something is wrong with the "
        "ledger. See `credits reconcile`."
    )
    return 1


async def _explain_prospect(settings: "Settings", account_id: str, prospect_id: str, output: Format) -> int:
    from credit_service.cli.explain.tree import lines_of_story
    from credit_service.postgres.explain.explain import PostgresExplains

    async with long_reading_connection(settings) as connection:
        story = await PostgresExplains(connection, settings.topic_prefix).prospect_history(account_id, prospect_id)
    if story is None:
        raise WrongUse(f"there is no account {account_id!r}")
    _put(story, output, lines_of_story(story))
    return 0 if story.decisions or story.parked or story.dead_letters.letters else 1


async def _explain_message(settings: "Settings", account_id: str, source: str, event_id: str, output: Format) -> int:
    from credit_service.cli.explain.tree import lines_of_fate
    from credit_service.postgres.explain.explain import PostgresExplains

    async with long_reading_connection(settings) as connection:
        fate = await PostgresExplains(connection, settings.topic_prefix).message_outcome(account_id, source, event_id)
    if fate is None:
        raise WrongUse(f"there is no account {account_id!r}")
    if fate.other_account_id is not None:
        raise WrongUse(f"--event {source} {event_id}: this is of the account {fate.other_account_id!r}")
    _put(fate, output, lines_of_fate(fate))
    return 1 if fate.status == "never-seen" else 0


def _put(answer: "ProspectHistory | MessageOutcome", output: Format, lines: "list[Line]") -> None:
    if output is Format.JSON:
        put(answer.model_dump_json())
    else:
        _print_tree(lines)


def _print_tree(lines: "list[Line]") -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    # In a pipe, lines are not wrapped.
    width = None if sys.stdout.isatty() else WIDTH_OF_A_PIPE
    branches = [Tree(Text(lines[0].text, style="bold"))]
    for line in islice(lines, 1, None):
        del branches[line.depth :]
        branches.append(branches[-1].add(Text(line.text)))
    Console(width=width, highlight=False, markup=False).print(branches[0])


async def _indented(lines: "AsyncIterator[Line]") -> AsyncIterator[str]:
    async for line in lines:
        yield f"{'    ' * line.depth}{line.text}"


async def _stream(parts: AsyncIterator[str], end: str) -> None:
    """Writes the parts in blocks of whole lines."""
    block: list[str] = []
    async for part in parts:
        block.append(part + end)
        if len(block) == bounds.EXPLAIN_BLOCK_LINES:
            write_whole("".join(block))
            block.clear()
    write_whole("".join(block))

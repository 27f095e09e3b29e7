"""`credits outbox`: lists, retries and drops events that Kafka refuses."""

from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.shared.connections import reading_pool, settings_or_exit, writing_pool
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.operator_options import Operator, Reason, Yes, confirm
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.panels import DECIDE, LOOK
from credit_service.cli.shared.run import run
from credit_service.cli.shared.text import age, safe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from credit_service.application.outbox_desk import OutboxDesk, RowAnswer, SetAsideRow
    from credit_service.settings import Settings

LINES_DEFAULT = 100
LINES_MAX = 100_000

Ids = Annotated[list[int], typer.Argument(metavar="ID", help="Numbers of rows, as `list` shows them.", min=1)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the rows, and do nothing.")]

app = typer.Typer(help="Events that Kafka refuses, and the events that wait behind them.", no_args_is_help=True)


@app.callback()
def outbox() -> None:
    """Events that Kafka refuses, and the events that wait behind them."""


@app.command("list", rich_help_panel=LOOK)
def list_rows(
    limit: Annotated[int, typer.Option(min=1, max=LINES_MAX, help="At most this many rows.")] = LINES_DEFAULT,
    output: Output = Format.TEXT,
) -> None:
    """Show the events that Kafka refuses: the row, why, and how many later events of its account wait behind it.

    Example: [cyan]credits outbox list[/]
    """
    settings = settings_or_exit()

    async def read() -> "list[SetAsideRow]":
        from credit_service.postgres.operator.outbox_desk import PostgresSetAsideRows

        async with reading_pool(settings) as pool:
            return await PostgresSetAsideRows(pool).rows(None, limit)

    found = run(read())
    for row in found:
        put(row.model_dump_json() if output is Format.JSON else _line(row))
    if not found:
        say("Nothing is set aside.")


@app.command(rich_help_panel=DECIDE)
def retry(
    ids: Ids,
    reason: Reason,
    operator: Operator,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
) -> int:
    """Publish rows once the cause of Kafka's refusal is removed, and then the events behind them, in order.

    A row that Kafka refuses again is set aside again, after other events of its topic were accepted. The exit code is 1
    if one of the rows is not set aside.

    Example: [cyan]credits outbox retry 17 --reason "the topic takes 1 MB again"[/]
    """
    settings = settings_or_exit()
    if not _show(settings, ids) or dry_run:
        return _nothing_done(settings, ids)
    return _do(settings, lambda desk: desk.retry(_once(ids), operator, reason), output)


@app.command(rich_help_panel=DECIDE)
def drop(
    ids: Ids,
    reason: Reason,
    operator: Operator,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Give rows up for good: they are never published, and the events behind them are. Who, when and why are kept.

    Consumers miss these events. `credits reconcile` still reports them, and does not publish them. The exit code is 1
    if one of the rows is not set aside.

    Example: [cyan]credits outbox drop 18 --reason "consumers were informed by hand"[/]
    """
    settings = settings_or_exit()
    if not (count := _show(settings, ids)) or dry_run:
        return _nothing_done(settings, ids)
    confirm(f"Drop {count:,} row{'' if count == 1 else 's'} for good?", yes=yes)
    return _do(settings, lambda desk: desk.drop(_once(ids), operator, reason), output)


def _once(ids: "Sequence[int]") -> list[int]:
    return list(dict.fromkeys(ids))


def _rows(settings: "Settings", ids: "Sequence[int]") -> "list[SetAsideRow]":
    from credit_service.application.outbox_desk import ROWS_MAX

    if len(ids) > ROWS_MAX:
        raise WrongUse(f"at most {ROWS_MAX:,} numbers at a time")

    async def read() -> "list[SetAsideRow]":
        from credit_service.postgres.operator.outbox_desk import PostgresSetAsideRows

        async with writing_pool(settings) as pool:
            return await PostgresSetAsideRows(pool).rows(_once(ids), ROWS_MAX)

    return run(read())


def _show(settings: "Settings", ids: "Sequence[int]") -> int:
    """Shows the rows, and returns how many of them are set aside."""
    found = _rows(settings, ids)
    for row in found:
        say(_line(row))
    return len(found)


def _nothing_done(settings: "Settings", ids: "Sequence[int]") -> int:
    missing = len(_once(ids)) - len(_rows(settings, ids))
    say(f"Nothing was done; {missing:,} of them are not set aside." if missing else "Nothing was done.")
    return 1 if missing else 0


def _do(settings: "Settings", work: "Callable[[OutboxDesk], Awaitable[list[RowAnswer]]]", output: Format) -> int:
    async def done() -> "list[RowAnswer]":
        from credit_service.application.outbox_desk import OutboxDesk
        from credit_service.postgres.operator.operations import PostgresOperationLog
        from credit_service.postgres.operator.outbox_desk import PostgresSetAsideRows

        async with writing_pool(settings) as pool:
            return await work(OutboxDesk(PostgresSetAsideRows(pool), PostgresOperationLog(pool)))

    try:
        answers = run(done())
    except ValueError as error:
        raise WrongUse(f"--{error}") from None
    for answer in answers:
        became = "is not set aside" if answer.became == "unknown" else answer.became
        put(answer.model_dump_json() if output is Format.JSON else f"#{answer.outbox_id}: {became}")
    return 1 if any(answer.became == "unknown" for answer in answers) else 0


def _line(row: "SetAsideRow") -> str:
    about = row.event_id or f"dead letter {row.dead_letter_id}"
    parts = [f"#{row.outbox_id}", row.topic, about, row.cause, f"set aside {age(row.age_seconds)} ago"]
    return safe("  ".join([*parts, f"{row.waiting:,} wait behind"] if row.waiting else parts))

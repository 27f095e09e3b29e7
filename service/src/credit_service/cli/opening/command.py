"""`credits open`: brings an existing customer base in from a file."""

from contextlib import aclosing, closing, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.opening.report import OpeningReport
from credit_service.cli.opening.source import STDIN, CustomerFile, Interrupted, opened
from credit_service.cli.shared.connections import opened_ledger, settings_or_exit
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.operator_options import AsItStands
from credit_service.cli.shared.output import Format, Output, say
from credit_service.cli.shared.progress import progress
from credit_service.cli.shared.run import run
from credit_service.cli.shared.server_errors import describe_ledger_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credit_service.application.opening.rows import Line, ReadFields
    from credit_service.settings import Settings

EXIT_INTERRUPTED = 130


class FileFormat(StrEnum):
    """The format of the file."""

    CSV = "csv"
    JSONL = "jsonl"


FORMAT_OF = {".csv": FileFormat.CSV, ".jsonl": FileFormat.JSONL, ".ndjson": FileFormat.JSONL}


def open_customers(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .ndjson file; - is stdin.")],
    rows_format: Annotated[
        FileFormat | None, typer.Option("--format", help="The format of the file; by default its ending decides.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide every row, and write nothing.")] = False,
    as_it_stands: AsItStands = False,
    output: Output = Format.TEXT,
) -> int:
    """Bring an existing customer base in: accounts, what is left of their purchases, and their prospects.

    Each refused row is a line on stdout, and has no effect. The exit code is 0 if no row was refused. A second run with
    the same file has no second effect, so the command is safe to repeat. Until all rows of an account are read, its
    events wait and its months are not renewed. Rows of accounts with unread events are refused.

    Example: [cyan]credits open customers.csv --dry-run[/]
    """
    settings = settings_or_exit()
    from credit_service.application.opening.rows import WrongFile, begin_rows, lines_of

    written = rows_format or FORMAT_OF.get(Path(file).suffix.lower())
    if written is None:
        raise WrongUse(f"--format: needed, {'stdin' if file == STDIN else 'the file'} has none of the known endings")
    with opened(file) as binary, CustomerFile(binary) as source:
        try:
            read_fields, lines = begin_rows(lines_of(source.readline), written.value)
        except WrongFile as error:
            raise WrongUse(f"{file} {error}") from None
        except Interrupted:
            return EXIT_INTERRUPTED
        report = OpeningReport(output, is_trial=dry_run)
        return run(_bring_in(settings, source, read_fields, lines, report, as_it_stands=as_it_stands))


async def _bring_in(
    settings: "Settings",
    source: CustomerFile,
    read_fields: "ReadFields",
    lines: "Iterator[Line]",
    report: OpeningReport,
    *,
    as_it_stands: bool,
) -> int:
    from credit_service.application.errors import LedgerUnavailable
    from credit_service.application.opening.opening import Opening
    from credit_service.application.opening.rows import read_rows
    from credit_service.application.opening.trial import TrialMemory
    from credit_service.application.temporary_files import NoTemporaryRoom

    with (
        closing(TrialMemory()) if report.is_trial else nullcontext() as trial,
        progress("Rows read", source.bytes_total, is_in_bytes=True) as bar,
    ):
        try:
            async with opened_ledger(settings) as into:
                opening = Opening(into.ledger, into.rules, trial, into.reading(as_it_stands=as_it_stands))
                report.opening = opening
                rows = read_rows(lines, read_fields, await opening.now())
                async with aclosing(opening.batches(rows)) as batches:
                    async for batch in batches:
                        report.add(batch)
                        bar.move_to(source.bytes_read)
        except Interrupted:
            pass
        except NoTemporaryRoom as error:
            raise CommandFailed(f"{error}; {report.stopped_at()}") from None
        except LedgerUnavailable as error:
            raise CommandFailed(f"{describe_ledger_error(error)}; {report.stopped_at()}") from None
    report.sum_up()
    if source.is_ending:
        say(f"Interrupted; {report.stopped_at()}.")
        return EXIT_INTERRUPTED
    return 0 if report.is_clean else 1

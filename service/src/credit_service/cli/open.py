"""`credits open`."""

import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import aclosing, closing, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from credit_service.cli.faults import Failed, WrongUse
from credit_service.cli.output import Format, Output, put, say
from credit_service.cli.person import AsItStands
from credit_service.cli.run import ledger, run, settings_or_exit, told_of_ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from credit_service.application.opening.opening import BatchOpened, Opening
    from credit_service.application.opening.rows import Line, ReadFields, RefusedRow
    from credit_service.settings import Settings

STDIN = "-"
EXIT_INTERRUPTED = 130
SAFE = "the same command may safely be run again"
KINDS = ("account", "purchase", "prospect")


class RowsFormat(StrEnum):
    """How the rows are written."""

    CSV = "csv"
    JSONL = "jsonl"


FORMAT_OF = {".csv": RowsFormat.CSV, ".jsonl": RowsFormat.JSONL, ".ndjson": RowsFormat.JSONL}


def open_customers(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .ndjson file; - is stdin.")],
    rows_format: Annotated[
        RowsFormat | None, typer.Option("--format", help="How the rows are written; else told by the file's ending.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide everything and keep nothing.")] = False,
    as_it_stands: AsItStands = False,
    output: Output = Format.TEXT,
) -> int:
    """Bring an existing customer base in: accounts as they stand, what is left of purchases, prospects they own.

    Each refused row is a line on stdout, and has no effect. The exit code is 0 if no row was refused. The same file
    once more has no second effect, so it is safe to repeat after any end. While more rows of an account are to come,
    its events wait, and its months do not turn. Rows of accounts whose events wait to be read are refused.

    Example: [cyan]credits open customers.csv --dry-run[/]
    """
    settings = settings_or_exit()
    from credit_service.application.opening.rows import WrongFile, begin_rows, lines_of

    written = rows_format or FORMAT_OF.get(Path(file).suffix.lower())
    if written is None:
        raise WrongUse(f"--format: needed, {'stdin' if file == STDIN else 'the file'} has none of the known endings")
    with _opened(file) as opened, _Source(opened) as source:
        try:
            read_fields, lines = begin_rows(lines_of(source.readline), written.value)
        except WrongFile as error:
            raise WrongUse(f"{file} {error}") from None
        except _Interrupted:
            return EXIT_INTERRUPTED
        told = _Told(output, is_trial=dry_run)
        return run(_bring_in(settings, source, read_fields, lines, told, as_it_stands=as_it_stands))


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == STDIN:
        yield sys.stdin.buffer
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below; only the opening may fail
    except OSError as error:
        raise WrongUse(f"{file}: {error.strerror}") from None
    with opened:
        yield opened


class _Interrupted(Exception):  # noqa: N818
    """Ctrl-C came while a line was waited for."""


class _Source:
    """The file, how much of it was read, and whether Ctrl-C asked to end: after the batch in hand, not within it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._is_reading = False
        self.is_ending = False
        self.bytes_read = 0
        found = os.fstat(file.fileno())
        self.bytes_total = found.st_size if stat.S_ISREG(found.st_mode) else None

    def __enter__(self) -> "_Source":
        self._before = signal.signal(signal.SIGINT, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def readline(self, bytes_max: int) -> bytes:
        """The next line, or its first `bytes_max` bytes; raises `_Interrupted`."""
        self._is_reading = True
        if self.is_ending:
            raise _Interrupted
        try:
            line = self._file.readline(bytes_max)
        except OSError as error:
            raise Failed(f"the file cannot be read on: {error.strerror}; {SAFE}") from None
        self._is_reading = False
        self.bytes_read += len(line)
        return line

    def _end(self, *_: object) -> None:
        if self.is_ending:
            raise KeyboardInterrupt
        self.is_ending = True
        if self._is_reading:
            raise _Interrupted


class _Told:
    """Prints what became of the rows, and adds it up."""

    def __init__(self, output: Format, *, is_trial: bool) -> None:
        self._output = output
        self.is_trial = is_trial
        self.last_line = 0
        self.opening: Opening | None = None
        self._opened = dict.fromkeys(KINDS, 0)
        self._opened_before = dict.fromkeys(KINDS, 0)
        self._refused = dict.fromkeys([*KINDS, "unreadable"], 0)

    @property
    def is_clean(self) -> bool:
        """Whether no row was refused."""
        return not any(self._refused.values())

    @property
    def left_open(self) -> str | None:
        """The account of which more is to come."""
        return self.opening.left_open if self.opening else None

    def add(self, batch: "BatchOpened") -> None:
        """Takes in one more batch."""
        self.last_line = batch.last_line
        for kind in batch.opened:
            self._opened[kind] += batch.opened[kind]
        for kind in batch.opened_before:
            self._opened_before[kind] += batch.opened_before[kind]
        for row in batch.refused:
            self._refused[row.record or "unreadable"] += 1
            put(self._json(row) if self._output is Format.JSON else self._text(row))

    def sum_up(self) -> None:
        """Says what all rows came to."""
        if self._output is Format.JSON:
            sums = {"opened": self._opened, "opened_before": self._opened_before, "refused": self._refused}
            put(json.dumps({"dry_run": self.is_trial, "last_line": self.last_line} | sums))
            return
        if self.is_trial:
            say("Nothing was written. It would have come to:")
        rows = [("", *(f"{kind}s" for kind in KINDS), "unreadable")]
        rows.append(("opened", *map(str, self._opened.values()), ""))
        rows.append(("opened before", *map(str, self._opened_before.values()), ""))
        rows.append(("refused", *map(str, self._refused.values())))
        for head, *cells in rows:
            say(f"{head:<14}{''.join(f'{cell:>12}' for cell in cells)}".rstrip())
        if not any(self._opened.values()):
            say("Nothing is new." if self.is_clean else "Nothing is new, and some rows were refused.")

    def _text(self, row: "RefusedRow") -> str:
        about = "" if row.account_id is None else f" ({row.account_id})"
        return f"line {row.line}{about}: {row.detail}"

    def _json(self, row: "RefusedRow") -> str:
        about = {"line": row.line, "account_id": row.account_id, "record": row.record}
        return json.dumps(about | {"reason": row.reason, "detail": row.detail})


async def _bring_in(
    settings: "Settings",
    source: _Source,
    read_fields: "ReadFields",
    lines: "Iterator[Line]",
    told: _Told,
    *,
    as_it_stands: bool,
) -> int:
    from credit_service.application.commands.read_progress import ReadProgress
    from credit_service.application.errors import LedgerUnavailable
    from credit_service.application.opening.opening import Opening
    from credit_service.application.opening.rows import read_rows
    from credit_service.application.opening.trial import TrialMemory
    from credit_service.application.temporary_files import NoTemporaryRoom
    from credit_service.postgres.ledger.ledger import PostgresLedger

    rules = settings.rules
    with closing(TrialMemory()) if told.is_trial else nullcontext() as trial, _progress(source) as moved:
        try:
            async with ledger(settings) as pool:
                into = PostgresLedger(pool, unparked_max=rules.unparked_max, topic_prefix=settings.topic_prefix)
                opening = Opening(into, rules, trial, ReadProgress(into, as_it_stands))
                told.opening = opening
                rows = read_rows(lines, read_fields, await opening.now())
                async with aclosing(opening.batches(rows)) as batches:
                    async for batch in batches:
                        told.add(batch)
                        moved()
        except _Interrupted:
            pass
        except NoTemporaryRoom as error:
            raise Failed(f"{error}; {_stopped_at(told)}") from None
        except LedgerUnavailable as error:
            raise Failed(f"{told_of_ledger(error)}; {_stopped_at(told)}") from None
    told.sum_up()
    if source.is_ending:
        say(f"Interrupted; {_stopped_at(told)}.")
        return EXIT_INTERRUPTED
    return 0 if told.is_clean else 1


def _stopped_at(told: _Told) -> str:
    how_far = f"decided up to line {told.last_line}" if told.last_line else "no row was decided"
    waits = f"; until then all else of {told.left_open} waits" if told.left_open else ""
    return f"{how_far}, and {SAFE}{waits}"


@contextmanager
def _progress(source: _Source) -> "Iterator[Callable[[], None]]":
    """A bar on stderr, where that is a terminal; what is yielded moves it on."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # Lines for the same terminal go above the bar; those for a pipe must stay on stdout.
    shared = sys.stdout.isatty()
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=shared, redirect_stderr=False
    ) as bar:
        task = bar.add_task("Rows read", total=source.bytes_total)
        yield lambda: bar.update(task, completed=source.bytes_read)

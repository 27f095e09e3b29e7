"""Rows of a list, however many: as aligned text, as JSON lines, or as CSV, a block at a time."""

import csv
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from credit_service.cli.shared.errors import Failed

if TYPE_CHECKING:
    import asyncpg

    from credit_service.settings import Settings

FORMULA_BEGINS_WITH = ("=", "+", "-", "@", "'")
ID_WIDTH_MAX = 40


class RowsFormat(StrEnum):
    """How rows are printed."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


RowsOutput = Annotated[
    RowsFormat,
    typer.Option(
        "--output",
        "-o",
        help="How to print rows on stdout: aligned, a JSON object a line, or CSV with a header. In CSV an id that a "
        "spreadsheet would take for a formula has an apostrophe before it.",
    ),
]


@asynccontextmanager
async def long_reads(settings: "Settings") -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection that may read for long from a database that has the schema, or the command ends with what is wrong.

    What is raised within goes through as it is: a pipe that is closed is no fault of the database.
    """
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.reads import export
    from credit_service.postgres.schema import schema_problem

    async with export.long_reads(Addresses.of(settings).reader) as connection:
        if problem := await schema_problem(connection):
            raise Failed(problem)
        yield connection


async def print_rows(
    columns: Sequence[str], blocks: AsyncIterator[Sequence[Sequence[object]]], output: RowsFormat
) -> None:
    """Writes each block as it comes; lines are written whole, or not at all."""
    printers: dict[RowsFormat, type[_Printer]] = {
        RowsFormat.TEXT: _Aligned,
        RowsFormat.JSON: _JsonLines,
        RowsFormat.CSV: _Csv,
    }
    printer = printers[output](columns)
    is_first = True
    async for block in blocks:
        write_whole(printer.lines(block, is_first=is_first))
        is_first = False
    if is_first:
        write_whole(printer.lines([], is_first=True))


def write_whole(text: str) -> None:
    """Writes all of `text` to stdout; a Ctrl-C meanwhile does not cut a line in two.

    Unbuffered, as in many a container, Python itself drops what a signal kept the pipe from taking.
    """
    sys.stdout.flush()
    left = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
    while left:
        left = left[os.write(sys.stdout.fileno(), left) :]


class _Printer(Protocol):
    def __init__(self, columns: Sequence[str]) -> None: ...

    def lines(self, rows: Sequence[Sequence[object]], *, is_first: bool) -> str: ...


class _JsonLines:
    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def lines(self, rows: Sequence[Sequence[object]], *, is_first: bool) -> str:  # noqa: ARG002 - no header
        return "".join(f"{self._line(row)}\n" for row in rows)

    def _line(self, row: Sequence[object]) -> str:
        told = {name: _value(cell) for name, cell in zip(self._columns, row, strict=True)}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


class _Csv:
    """CSV for spreadsheets and programs.

    Ids are whatever other services send. A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula,
    so such a text has an apostrophe before it; and so has one that begins with an apostrophe, so that all can be told
    apart. Numbers stay as they are, and JSON has all ids as they are.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def lines(self, rows: Sequence[Sequence[object]], *, is_first: bool) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if is_first:
            writer.writerow(self._columns)
        writer.writerows([_no_formula(_value(cell)) for cell in row] for row in rows)
        return text.getvalue()


class _Aligned:
    """As wide as the first block needs; what is longer later on pushes its line out, and is not cut."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._widths = [len(name) for name in columns]
        self._is_number = [True] * len(columns)

    def lines(self, rows: Sequence[Sequence[object]], *, is_first: bool) -> str:
        cells = [[_told(cell) for cell in row] for row in rows]
        if is_first:
            for n, name in enumerate(self._columns):
                self._widths[n] = max([len(name), *(min(len(row[n]), ID_WIDTH_MAX) for row in cells)])
                self._is_number[n] = all(type(row[n]) is int or row[n] is None for row in rows)
            cells = [list(self._columns), *cells]
        return "".join(self._line(row) for row in cells)

    def _line(self, cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(cells, self._widths, self._is_number, strict=True)
        )
        return "  ".join(aligned).rstrip() + "\n"


def _value(cell: object) -> object:
    return _instant(cell) if isinstance(cell, datetime) else cell


@lru_cache(maxsize=4_096)
def _instant(at: datetime) -> str:
    # All of a batch is recorded at one instant, and months end at few.
    from credit_contracts.times import format_time

    return format_time(at)


def _no_formula(cell: object) -> object:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str) and cell.startswith(FORMULA_BEGINS_WITH):
        return f"'{cell}"
    return cell


def _told(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:%Y-%m-%dT%H:%M:%SZ}" if isinstance(cell, datetime) else str(cell)

"""Prints rows block by block: as aligned text, as JSON lines, or as CSV."""

import csv
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Protocol

import typer

FORMULA_BEGINS_WITH = ("=", "+", "-", "@", "'")
ID_WIDTH_MAX = 40


class RowsFormat(StrEnum):
    """The format of the rows on stdout."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


RowsOutput = Annotated[
    RowsFormat,
    typer.Option(
        "--output",
        "-o",
        help="Format of the rows on stdout: aligned text, one JSON object a line, or CSV with a header. In CSV an "
        "apostrophe precedes an id that a spreadsheet would take for a formula.",
    ),
]


async def print_rows(
    columns: Sequence[str], blocks: AsyncIterator[Sequence[Sequence[object]]], output: RowsFormat
) -> None:
    """Writes each block as it arrives; a line is written whole, or not at all."""
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
    """Writes all of `text` to stdout; Ctrl-C does not cut a line in two.

    With unbuffered output, as in many containers, Python itself drops the rest of a write that a signal interrupts.
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
        cells = {name: _value(cell) for name, cell in zip(self._columns, row, strict=True)}
        return json.dumps(cells, ensure_ascii=False, separators=(",", ":"))


class _Csv:
    """CSV for spreadsheets and programs.

    Other services choose the ids. A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, so an
    apostrophe precedes such a text. It also precedes a text that begins with an apostrophe, so that different ids stay
    different. Numbers are unchanged, and JSON has all ids unchanged.
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
    """Columns as wide as the first block needs; a longer cell of a later block widens its line, and is not cut."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._widths = [len(name) for name in columns]
        self._is_number = [True] * len(columns)

    def lines(self, rows: Sequence[Sequence[object]], *, is_first: bool) -> str:
        cells = [[_text(cell) for cell in row] for row in rows]
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
    # All entries of a batch have one instant, and months end at few instants.
    from credit_contracts.times import format_time

    return format_time(at)


def _no_formula(cell: object) -> object:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str) and cell.startswith(FORMULA_BEGINS_WITH):
        return f"'{cell}"
    return cell


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:%Y-%m-%dT%H:%M:%SZ}" if isinstance(cell, datetime) else str(cell)

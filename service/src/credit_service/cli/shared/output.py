"""Output of commands: data on stdout, as text or JSON; messages on stderr."""

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """The format of the data on stdout."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="Format of the data on stdout.")]


def put(line: str) -> None:
    """Writes a line of data, and flushes it: a pipe sees each line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """Writes a line to stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()

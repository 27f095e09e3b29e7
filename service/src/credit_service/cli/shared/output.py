"""Data on stdout, for people or as JSON; talk on stderr."""

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """How data are printed."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print data on stdout.")]


def put(line: str) -> None:
    """Writes a line of data at once, so that a pipe sees it when it happens."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """Writes a line of talk."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()

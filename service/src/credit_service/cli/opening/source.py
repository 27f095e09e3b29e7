"""The file of customers: read line by line, with Ctrl-C held back until a batch is done."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from credit_service.cli.shared.errors import CommandFailed, WrongUse

STDIN = "-"
SAFE = "the same command may safely be run again"


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """The open file, or stdin; raises `WrongUse` if it cannot be opened."""
    if file == STDIN:
        yield sys.stdin.buffer
        return
    try:
        binary = Path(file).open("rb")  # noqa: SIM115 - closed below; only the opening may fail
    except OSError as error:
        raise WrongUse(f"{file}: {error.strerror}") from None
    with binary:
        yield binary


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C arrived while the command waited for a line."""


class CustomerFile:
    """The file, the bytes read, and whether Ctrl-C asked to end: the command ends after the current batch."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._is_reading = False
        self.is_ending = False
        self.bytes_read = 0
        found = os.fstat(file.fileno())
        self.bytes_total = found.st_size if stat.S_ISREG(found.st_mode) else None

    def __enter__(self) -> "CustomerFile":
        self._before = signal.signal(signal.SIGINT, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def readline(self, bytes_max: int) -> bytes:
        """The next line, or its first `bytes_max` bytes; raises `Interrupted`."""
        self._is_reading = True
        if self.is_ending:
            raise Interrupted
        try:
            line = self._file.readline(bytes_max)
        except OSError as error:
            raise CommandFailed(f"the file cannot be read any further: {error.strerror}; {SAFE}") from None
        self._is_reading = False
        self.bytes_read += len(line)
        return line

    def _end(self, *_: object) -> None:
        if self.is_ending:
            raise KeyboardInterrupt
        self.is_ending = True
        if self._is_reading:
            raise Interrupted

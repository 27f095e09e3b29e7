"""What a forked command does at first.

A module of its own: every child imports it anew, so it imports next to nothing.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

from credit_local_stack.process import die_with_parent

if TYPE_CHECKING:
    from pathlib import Path


_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def taken(descriptor: Any) -> int:
    """One end of a pipe, as the child has it."""
    number: int = descriptor.detach()
    return number


def be_credits(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    folder: Path,
    stdin: Path | int,
    stdout: Path | int,
    stderr: Path | int,
    first: str,
) -> None:
    """What the child does: as the installed script, with what a new process would find."""
    if die := die_with_parent(signal.SIGKILL, parent=os.getppid()):
        die()
    # The server of forks ends when nobody holds this any more, and this process ends with it: it must not hold it, too.
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]  # nobody else closes it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in ((0, stdin), (1, stdout), (2, stderr)):
        descriptor = stream if isinstance(stream, int) else os.open(stream, os.O_RDONLY if number == 0 else _APPENDING)
        os.dup2(descriptor, number)
        os.close(descriptor)
    # Unbuffered or not, and in which encoding, was decided for the parent's.
    sys.stdin = os.fdopen(0, closefd=False)
    if environment.get("PYTHONUNBUFFERED"):
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0, closefd=False), write_through=True)
    else:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.argv = ["credits", *arguments]

    exec(first, {})  # noqa: S102 - a fault that a test makes
    from credit_service.cli.main import main

    sys.exit(main())

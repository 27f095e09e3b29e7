"""What a forked command does at first.

A module of its own: every child imports it anew, so it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import forkserver
from typing import TYPE_CHECKING

from credit_local_stack.process import die_with_parent

if TYPE_CHECKING:
    from pathlib import Path


def be_credits(
    arguments: tuple[str, ...], environment: dict[str, str], folder: Path, stdout: Path, stderr: Path, first: str
) -> None:
    """What the child does: as the installed script, with what a new process would find."""
    if die := die_with_parent(signal.SIGKILL, parent=os.getppid()):
        die()
    # The server of forks ends when nobody holds this any more, and this process ends with it: it must not hold it, too.
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]  # nobody else closes it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # Unbuffered or not, and in which encoding, was decided for the parent's.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.argv = ["credits", *arguments]

    exec(first, {})  # noqa: S102 - a fault that a test makes
    from credit_service.cli.main import main

    sys.exit(main())

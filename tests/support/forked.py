"""The command `credits` as a process of its own, forked from one that has imported it.

Imports are most of what a short command costs, and the tests run a thousand. What only a program started from nothing
shows (its memory, a terminal, the order of its imports) is tested on one: see `CREDITS` in `support.credits`.
"""

from __future__ import annotations

import asyncio
import os
import pkgutil
import signal
import threading
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING

import credit_service
from support.forked_child import be_credits

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_RUN_BY_COMMANDS = ("credit_service.cli.demo", "credit_service.testing")
_IMPORTED = [
    module.name
    for module in pkgutil.walk_packages(credit_service.__path__, "credit_service.")
    if not module.name.startswith(_NOT_RUN_BY_COMMANDS)
]

_CONTEXT = get_context("forkserver")
# The stack, too: `be_credits` needs one of its modules, and it is dear.
_CONTEXT.set_forkserver_preload([*_IMPORTED, "credit_local_stack"])

# Threads of a test run commands side by side; that one has ended can be read once, and starting another reads it, too.
_ONE_AT_A_TIME = threading.Lock()


class Forked:
    """One command that runs; its output goes to files. `first` is Python that it executes before it begins."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path,
        stdout: Path,
        stderr: Path,
        first: str = "",
    ) -> None:
        self.stdout, self.stderr = stdout, stderr
        for path in (stdout, stderr):
            path.touch()
        self._process = _CONTEXT.Process(
            target=be_credits, args=(arguments, dict(environment), folder, stdout, stderr, first), daemon=True
        )
        with _ONE_AT_A_TIME:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for a signal."""
        with _ONE_AT_A_TIME:
            return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Sends it, unless the command has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Waits for the end; the exit code."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        return self._exit_code()

    def wait_blocking(self, seconds_max: float) -> int | None:
        """Waits for the end; the exit code, None if it has not come in time."""
        return self._exit_code() if connection.wait([self._process.sentinel], seconds_max) else None

    def _exit_code(self) -> int:
        exit_code = self.returncode
        assert exit_code is not None
        return exit_code

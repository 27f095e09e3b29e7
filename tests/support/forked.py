"""The command `credits` as a process of its own, forked from one that has imported it.

Imports are most of what a short command costs, and the tests run a thousand. What only a program started from nothing
shows (its memory, a terminal, the order of its imports) is tested on one: see `CREDITS` in `support.credits`.
"""

from __future__ import annotations

import asyncio
import os
import pkgutil
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import connection, get_context, reduction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, Self, TypeVar

import credit_service
from support.forked_child import be_credits, taken
from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T", str, bytes)

_NOT_RUN_BY_COMMANDS = ("credit_service.cli.demo", "credit_service.testing")
_IMPORTED = [
    module.name
    for module in pkgutil.walk_packages(credit_service.__path__, "credit_service.")
    if not module.name.startswith(_NOT_RUN_BY_COMMANDS)
]

_CONTEXT = get_context("forkserver")
# The stack, too: `be_credits` needs one of its modules, and it is dear.
_CONTEXT.set_forkserver_preload([*_IMPORTED, "credit_local_stack"])

_END_SECONDS_MAX = 30
_BUFFERED = {"": -1, "b": 0}

# Threads of a test run commands side by side; that one has ended can be read once, and starting another reads it, too.
_ONE_AT_A_TIME = threading.Lock()


class End:
    """The child's end of a pipe: a descriptor that it gets for itself."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Any]]:
        return taken, (reduction.DupFd(self._descriptor),)


class Child:
    """One command that runs. `first` is Python that it executes before it begins."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path,
        stdin: Path | End,
        stdout: Path | End,
        stderr: Path | End,
        first: str = "",
    ) -> None:
        self._process = _CONTEXT.Process(
            target=be_credits, args=(arguments, dict(environment), folder, stdin, stdout, stderr, first), daemon=True
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
        # What starts the commands sees the end of one a moment before it tells of it.
        if self.returncode is None:
            with suppress(ProcessLookupError):
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
        return self._exit_code() if connection.wait([self._process.sentinel], patience(seconds_max)) else None

    def _exit_code(self) -> int:
        exit_code = self.returncode
        assert exit_code is not None
        return exit_code


class Forked(Child):
    """One whose output goes to files, with nothing to read on its standard input."""

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
        super().__init__(
            *arguments,
            environment=environment,
            folder=folder,
            stdin=Path(os.devnull),
            stdout=stdout,
            stderr=stderr,
            first=first,
        )


class Piped(Generic[T]):
    """A command that is spoken with while it runs, by what tests use of a `subprocess.Popen`."""

    def __init__(
        self, *arguments: str, environment: Mapping[str, str], folder: Path, mode: str, first: str = ""
    ) -> None:
        ends = [os.pipe() for _ in range(3)]
        ours = [ends[0][1], ends[1][0], ends[2][0]]
        theirs = [ends[0][0], ends[1][1], ends[2][1]]
        self.stdin: IO[T] = os.fdopen(ours[0], f"w{mode}", _BUFFERED[mode])
        self.stdout: IO[T] = os.fdopen(ours[1], f"r{mode}", _BUFFERED[mode])
        self.stderr: IO[T] = os.fdopen(ours[2], f"r{mode}", _BUFFERED[mode])
        stdin, stdout, stderr = map(End, theirs)
        try:
            self._command = Child(
                *arguments,
                environment=environment,
                folder=folder,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                first=first,
            )
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait(patience(_END_SECONDS_MAX))
        for stream in (self.stdin, self.stdout, self.stderr):
            with suppress(BrokenPipeError):
                stream.close()

    @property
    def returncode(self) -> int | None:
        return self._command.returncode

    def send_signal(self, number: signal.Signals) -> None:
        self._command.send_signal(number)

    def wait(self, timeout: float) -> int:
        exit_code = self._command.wait_blocking(timeout)
        if exit_code is None:
            raise subprocess.TimeoutExpired("credits", timeout)
        return exit_code

    def communicate(self, more: T | None = None, timeout: float = _END_SECONDS_MAX) -> tuple[T, T]:
        """Writes what is left to say, and reads all that is left, to the command's end."""
        with suppress(BrokenPipeError):  # it has ended before
            if more is not None:
                self.stdin.write(more)
            self.stdin.close()
        with ThreadPoolExecutor(2) as pool:
            rest, talk = pool.map(lambda stream: stream.read(), (self.stdout, self.stderr))
        self.wait(timeout)
        return rest, talk


def piped(*arguments: str, environment: Mapping[str, str], folder: Path) -> Piped[str]:
    """A command that is spoken with in lines of text."""
    return Piped(*arguments, environment=environment, folder=folder, mode="")


def piped_bytes(*arguments: str, environment: Mapping[str, str], folder: Path, first: str = "") -> Piped[bytes]:
    """The same with bytes, which nothing holds back on their way."""
    return Piped(*arguments, environment=environment, folder=folder, mode="b", first=first)

"""One server as a child process that dies with the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from credit_local_stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

_START_SECONDS_MAX = 90
_STOP_SECONDS_MAX = 30
_TOOL_SECONDS_MAX = 90
_LAUNCHES_MAX = 20
_POLL_SECONDS = 0.05
_LOG_LINES_SHOWN = 15
_PR_SET_PDEATHSIG = 1
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Server(Protocol):
    """What differs between Postgres and Kafka."""

    name: str
    log: Path
    orderly_end: signal.Signals
    quick_end: signal.Signals

    def choose_ports(self) -> None:
        """Take ports that are free now."""

    def prepare(self) -> None:
        """Make the data folder, unless it is there."""

    def command(self) -> list[str]:
        """Return what runs the server in the foreground."""

    def answers(self, pid: int) -> bool:
        """Whether the process with this id serves clients."""


class ServerProcess:
    """A server's process: started, ended, killed and started again on the same ports and data."""

    def __init__(self, server: Server, pause: Callable[[float], None]) -> None:
        self.server = server
        self._pause = pause
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_to_end = False

    @property
    def pid(self) -> int | None:
        """The id of the running process, None if none runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def launch(self) -> None:
        """Start the process, without waiting until it answers."""
        self._asked_to_end = False
        with self.server.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self.server.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.server.log.parent,
                env=environment(),
                preexec_fn=_in_server(self.server.quick_end),
            )

    def wait_until_it_answers(self, *, may_move: bool) -> None:
        """Wait for the server, launching it again if it ends: on other ports where it may move.

        It ends by itself when somebody took a port meanwhile, and Postgres also while what a killed
        predecessor left in memory is still in use.
        """
        deadline = time.monotonic() + _START_SECONDS_MAX
        for _ in range(_LAUNCHES_MAX):
            while (pid := self.pid) is not None:
                if self.server.answers(pid):
                    return
                if time.monotonic() > deadline:
                    self.end(signal.SIGKILL)
                    raise StackError(f"{self.server.name} does not answer after {_START_SECONDS_MAX} s\n{self._tail()}")
                self._pause(_POLL_SECONDS)
            if may_move:
                self.server.choose_ports()
            self._pause(_POLL_SECONDS * 4)
            self.launch()
        self.end(signal.SIGKILL)
        raise StackError(f"{self.server.name} ended {_LAUNCHES_MAX} times while it started\n{self._tail()}")

    def check(self) -> None:
        """Raise if the server has ended and nobody asked it to."""
        if self._process and self.pid is None and not self._asked_to_end:
            raise StackError(f"{self.server.name} has ended by itself\n{self._tail()}")

    def ask_to_end(self, how: signal.Signals) -> None:
        """Send a signal, without waiting."""
        self._asked_to_end = True
        if self.pid is not None and self._process:
            self._process.send_signal(how)
            # One that a test has frozen would never see it.
            self._process.send_signal(signal.SIGCONT)

    def end(self, how: signal.Signals) -> None:
        """End the process and wait until it is gone; one that does not obey within a bound is killed."""
        self.ask_to_end(how)
        if self._process:
            try:
                self._process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _tail(self) -> str:
        return tail(self.server.log)


def run_tool(command: list[str], log: Path, death_signal: signal.Signals, *, said: str = "") -> None:
    """Run one of the servers' own tools to its end, its output appended to the log."""
    with log.open("ab") as output:
        try:
            subprocess.run(  # noqa: S603 - the command is ours
                command,
                input=said.encode(),
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=environment(),
                preexec_fn=_in_server(death_signal),
                timeout=_TOOL_SECONDS_MAX,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise StackError(f"{Path(command[0]).name} failed: {error}\n{tail(log)}") from error


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-_LOG_LINES_SHOWN:])


def environment() -> dict[str, str]:
    """Return an environment in which no PG*, KAFKA_* or JAVA_* of the caller's changes a server."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8",
    }


def _in_server(death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child runs before its program, so that it can be ended, and dies with its parent."""
    die = die_with_parent(death_signal)

    def in_child() -> None:
        # Where they were ignored when we started, Java would go on ignoring them.
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        if die:
            die()

    return in_child


def die_with_parent(death_signal: signal.Signals, *, parent: int | None = None) -> Callable[[], None] | None:
    """Return what a child runs before its program, so that Linux signals it when its parent dies.

    The parent is this process, unless its id is given.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = parent or os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            os._exit(1)

    return in_child

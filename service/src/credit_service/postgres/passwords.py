"""Passwords that change while the service runs: read from a file, or printed by a program."""

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from credit_service.application.errors import NoPassword
from credit_service.runtime.programs import ProgramFailed, output_of

KEPT_SECONDS_MAX: Final = 60.0
# Cloud programs take longer than the watch waits for an answer, and the watch connects every fifteen seconds.
RENEWED_AFTER_SECONDS: Final = 40.0
FAILURE_KEPT_SECONDS: Final = 1.0
FILE_BYTES_MAX: Final = 64 * 1024
# A remote mount may not answer; a pipe may have no writer.
FILE_SECONDS_MAX: Final = 5.0


class Password(Protocol):
    """A source of passwords. Raises `NoPassword`."""

    async def ask(self, refused: str | None = None) -> str:
        """The password for a new connection; another one than the `refused`, if there is one."""

    def read(self) -> str:
        """The same, for a caller that may block."""


class PasswordFile:
    """A password file, read at each new connection; white space around the password is removed."""

    def __init__(self, variable: str, file: Path) -> None:
        self._variable = variable
        self._file = file
        self._reading: asyncio.Task[str] | None = None

    async def ask(self, refused: str | None = None) -> str:  # noqa: ARG002 - the file is read again anyway
        """See `Password`. One thread waits for a file that does not end, for all callers."""
        if self._reading is None or self._reading.done():
            self._reading = _start_reading(self.read)
        try:
            async with asyncio.timeout(FILE_SECONDS_MAX):
                return await asyncio.shield(self._reading)
        except TimeoutError:
            raise NoPassword(f"{self._variable}: the file is not read within {FILE_SECONDS_MAX:g} s") from None

    def read(self) -> str:
        """See `Password`."""
        try:
            with self._file.open("rb") as file:
                read = file.read(FILE_BYTES_MAX + 1)
            password = read.decode().strip()
        except OSError as error:
            raise NoPassword(f"{self._variable}: the file cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise NoPassword(f"{self._variable}: the file is not UTF-8") from None
        if not password:
            raise NoPassword(f"{self._variable}: the file is empty")
        if len(read) > FILE_BYTES_MAX:
            raise NoPassword(f"{self._variable}: the file holds more than {FILE_BYTES_MAX} bytes")
        return password


class PasswordCommand:
    """A password that a program prints, used for a minute or until the server refuses it.

    A call late in that minute returns at once, and the program runs for the next calls. It runs at most once a second,
    however many connections are refused or lack a password. `variables` name the login for the program: PGHOST,
    PGPORT, PGUSER, PGDATABASE.
    """

    def __init__(self, variable: str, command: str, variables: Mapping[str, str]) -> None:
        self._variable = variable
        self._command = command
        self._variables = variables
        self._printed: str | None = None
        self._printed_at = self._failed_at = self._refused_at = float("-inf")
        self._failed: NoPassword | None = None
        self._reading: asyncio.Task[str] | None = None

    async def ask(self, refused: str | None = None) -> str:
        """See `Password`. One run of the program answers all calls of the same time."""
        now = time.monotonic()
        printed = self._printed if now - self._printed_at < KEPT_SECONDS_MAX else None
        if printed and printed == refused:
            if now - self._refused_at < FAILURE_KEPT_SECONDS:
                return printed
            self._refused_at, printed = now, None
        elif printed and now - self._printed_at < RENEWED_AFTER_SECONDS:
            return printed
        if self._failed and now - self._failed_at < FAILURE_KEPT_SECONDS:
            if printed:
                return printed
            raise NoPassword(*self._failed.args)
        if self._reading is None or self._reading.done():
            self._reading = _start_reading(self.read)
        if printed:
            return printed
        return await asyncio.shield(self._reading)

    def read(self) -> str:
        """See `Password`."""
        try:
            printed = output_of(self._command, self._variables)
        except ProgramFailed as error:
            self._failed, self._failed_at = NoPassword(f"{self._variable}: {error}"), time.monotonic()
            raise self._failed from None
        self._failed, self._printed, self._printed_at = None, printed, time.monotonic()
        return printed


def _start_reading(read: Callable[[], str]) -> asyncio.Task[str]:
    reading = asyncio.create_task(_in_a_thread(read))
    # The caller may have given up: the error is marked as seen, and the next caller gets it.
    reading.add_done_callback(lambda task: task.cancelled() or task.exception())
    return reading


async def _in_a_thread(read: Callable[[], str]) -> str:
    """Reads in a daemon thread: the end of the process would wait for a thread of the loop's own pool."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()

    def set_result(password: str | None, error: Exception | None) -> None:
        if found.done():
            return
        if error:
            found.set_exception(error)
        else:
            found.set_result(password or "")

    def run() -> None:
        password, failed = None, None
        try:
            password = read()
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # the loop is closed, and nothing waits any more
            loop.call_soon_threadsafe(set_result, password, failed)

    try:
        threading.Thread(target=run, name="password", daemon=True).start()
    except RuntimeError as error:
        # As the system reports it for a process: a later attempt may succeed.
        raise OSError(errno.EAGAIN, "no thread can be started") from error
    return await found

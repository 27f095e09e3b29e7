"""Passwords that change while the service runs: from a file, or from a program that prints one."""

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
# Programs of clouds take longer than the watch waits for an answer, and the watch connects every fifteen seconds.
RENEWED_AFTER_SECONDS: Final = 40.0
FAILURE_KEPT_SECONDS: Final = 1.0
FILE_BYTES_MAX: Final = 64 * 1024
# What is mounted from elsewhere may not answer; what is no file may have nobody who writes to it.
FILE_SECONDS_MAX: Final = 5.0


class Password(Protocol):
    """Where a password is to be had. Raises `NoPassword`."""

    async def ask(self, refused: str | None = None) -> str:
        """The password for a new connection; one that is not the `refused`, if there is another."""

    def read(self) -> str:
        """The same for who may wait."""


class PasswordFile:
    """Read again at each new connection; white space around the password is none of it."""

    def __init__(self, variable: str, file: Path) -> None:
        self._variable = variable
        self._file = file
        self._asking: asyncio.Task[str] | None = None

    async def ask(self, refused: str | None = None) -> str:  # noqa: ARG002 - it is read again anyway
        """See `Password`. One that cannot be read to its end is waited for by one thread, whoever asks."""
        if self._asking is None or self._asking.done():
            self._asking = _asked(self.read)
        try:
            async with asyncio.timeout(FILE_SECONDS_MAX):
                return await asyncio.shield(self._asking)
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
            raise NoPassword(f"{self._variable}: the file holds what is not UTF-8") from None
        if not password:
            raise NoPassword(f"{self._variable}: the file is empty")
        if len(read) > FILE_BYTES_MAX:
            raise NoPassword(f"{self._variable}: the file holds more than {FILE_BYTES_MAX} bytes")
        return password


class PasswordCommand:
    """What a program prints. It is used for a minute, or until the server refuses it.

    Who asks late in that minute is not kept waiting: the program runs for those who ask next. However many connections
    are refused, or fail for want of a password, it runs once a second. `variables` tell the program for whom: PGHOST,
    PGPORT, PGUSER, PGDATABASE.
    """

    def __init__(self, variable: str, command: str, variables: Mapping[str, str]) -> None:
        self._variable = variable
        self._command = command
        self._variables = variables
        self._printed: str | None = None
        self._printed_at = self._failed_at = self._refused_at = float("-inf")
        self._failed: NoPassword | None = None
        self._asking: asyncio.Task[str] | None = None

    async def ask(self, refused: str | None = None) -> str:
        """See `Password`. All who ask at the same time are answered by one run of the program."""
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
        if self._asking is None or self._asking.done():
            self._asking = _asked(self.read)
        if printed:
            return printed
        return await asyncio.shield(self._asking)

    def read(self) -> str:
        """See `Password`."""
        try:
            printed = output_of(self._command, self._variables)
        except ProgramFailed as error:
            self._failed, self._failed_at = NoPassword(f"{self._variable}: {error}"), time.monotonic()
            raise self._failed from None
        self._failed, self._printed, self._printed_at = None, printed, time.monotonic()
        return printed


def _asked(read: Callable[[], str]) -> asyncio.Task[str]:
    asking = asyncio.create_task(_in_a_thread(read))
    # Whoever asked may have given up; an error that nobody waits for is told to the next.
    asking.add_done_callback(lambda task: task.cancelled() or task.exception())
    return asking


async def _in_a_thread(read: Callable[[], str]) -> str:
    """Not in a thread of the loop's own, which the end of the process would wait for."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()

    def tell(password: str | None, error: Exception | None) -> None:
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
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, password, failed)

    try:
        threading.Thread(target=run, name="password", daemon=True).start()
    except RuntimeError as error:
        # As the system would say it of a process: another time there may be room.
        raise OSError(errno.EAGAIN, "no thread can be started") from error
    return await found

"""Runs programs that print a secret, a password or a token, for logins with short-lived secrets."""

import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

PROGRAM_SECONDS_MAX: Final = 20.0
PRINTED_BYTES_MAX: Final = 64 * 1024
_OURS: Final = "CREDITS_"


class ProgramFailed(Exception):  # noqa: N818 - reads as what happened
    """The program did not print a secret; the message repeats nothing of its output."""


def require_program(command: str) -> str:
    """The command itself; raises ValueError if a quote is not closed, or its first word is no program here."""
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise ValueError("must begin with a program that is here")
    return command


def output_of(command: str, variables: Mapping[str, str] | None = None) -> str:
    """The standard output of the program, stripped of white space. It blocks, so not for an event loop.

    The program is run without a shell, with this process' environment except the service's settings, and with
    `variables`. Raises `ProgramFailed` if it cannot be run, takes too long, fails, or prints nothing, too much, or no
    UTF-8.
    """
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)}
    program, *arguments = shlex.split(command)
    try:
        # Its own process group, so that its children end with it.
        process = subprocess.Popen(  # noqa: S603 - the deployment's own command
            [program, *arguments],
            env=environment | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # It may have the secret, or its source.
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramFailed(f"{program} cannot be run: {error.strerror}") from None
    except ValueError:
        raise ProgramFailed("it cannot be run: the command or a variable contains a NUL") from None
    deadline = time.monotonic() + PROGRAM_SECONDS_MAX
    with process:
        read, has_ended = _read(process, deadline)
        if has_ended:
            has_ended = _ends_by(process, deadline)
        if not has_ended:
            _end(process)
    if not has_ended:
        raise ProgramFailed(f"{program} has not ended within {PROGRAM_SECONDS_MAX:g} s")
    exit_code = process.returncode
    if len(read) > PRINTED_BYTES_MAX:
        raise ProgramFailed(f"{program} prints more than {PRINTED_BYTES_MAX} bytes")
    if exit_code:
        raise ProgramFailed(f"{program} ends with exit code {exit_code}; run it by hand to see why")
    try:
        printed = read.decode().strip()
    except UnicodeDecodeError:
        raise ProgramFailed(f"{program} prints what is not UTF-8") from None
    if not printed:
        raise ProgramFailed(f"{program} prints nothing")
    return printed


def _read(process: "subprocess.Popen[bytes]", deadline: float) -> tuple[bytes, bool]:
    """The output, until it is closed or too long; and whether that was in time.

    Children of the program may keep the output open after its end, and outside of its process group.
    """
    read = bytearray()
    output = process.stdout
    if output is None:
        return b"", True
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while len(read) <= PRINTED_BYTES_MAX:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return bytes(read), False
            if not (chunk := os.read(output.fileno(), PRINTED_BYTES_MAX + 1)):
                return bytes(read), True
            read += chunk
    _end(process)
    return bytes(read), True


def _ends_by(process: "subprocess.Popen[bytes]", deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

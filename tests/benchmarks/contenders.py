"""Who is compared: each is a command that works off the incoming topics of its deployment until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from credit_local_stack.process import die_with_parent, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks.deployment import Deployment

OPENED = "partitions opened"
OPENED_SECONDS_MAX = 60
LOOK_EVERY_SECONDS = 0.02
END_SECONDS_MAX = 40


class ContenderFailed(Exception):  # noqa: N818 - reads as what happened
    """A contender ended by itself, or did not begin; the end of its log is in the message."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A yardstick has a schema of its own; the service has not."""

    name: str
    command: tuple[str, ...]
    schema: str | None = None


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.{name}", *arguments)


SERVICE = Contender("service", (str(Path(sysconfig.get_path("scripts")) / "credits"), "serve"))
FLOOR = Contender("floor", _module("floor"), schema="floor")
ONE_TRANSACTION = tuple(
    Contender(
        f"one_transaction_pool_{connections}",
        _module("one_transaction", "--connections", str(connections)),
        schema="one_transaction",
    )
    for connections in (8, 16)
)
# A handler per message in FastStream, with the statements of `one_transaction`, belongs here as the next one.


@dataclass(frozen=True, slots=True)
class Running:
    """A contender's process."""

    pid: int
    log: Path
    process: subprocess.Popen[bytes]

    async def opened(self, look: Callable[[], None] = lambda: None) -> float:
        """When it began to consume: its own log says so. `look` is called while that is waited for."""
        deadline = time.time() + OPENED_SECONDS_MAX
        while time.time() < deadline:
            for line in self.log.read_text().splitlines():
                if f'"event": "{OPENED}"' in line and line.endswith("}"):
                    return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
            self.check()
            look()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        raise ContenderFailed(f"nothing was consumed within {OPENED_SECONDS_MAX} s\n{tail(self.log)}")

    def check(self) -> None:
        """Raises if it has ended."""
        if (code := self.process.poll()) is not None:
            raise ContenderFailed(f"it ended with exit code {code}\n{tail(self.log)}")


@asynccontextmanager
async def running(contender: Contender, deployment: Deployment, log: Path) -> AsyncIterator[Running]:
    """Runs it in a folder where no settings lie about, and ends it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CREDITS_")} | deployment.environment()
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as written:
        process = subprocess.Popen(  # noqa: ASYNC220 - dies with this thread, so it must be made by this one
            contender.command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        try:
            yield Running(process.pid, log, process)
        finally:
            await asyncio.to_thread(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

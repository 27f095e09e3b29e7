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
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchmarks.group import all_have_joined, held_back
from credit_local_stack.process import die_with_parent, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from benchmarks.deployment import Deployment

OPENED = "partitions opened"
OPENED_SECONDS_MAX = 60
LOOK_EVERY_SECONDS = 0.02
END_SECONDS_MAX = 40
NOTHING_MORE: Mapping[str, str] = MappingProxyType({})


class ContenderFailed(Exception):  # noqa: N818 - reads as what happened
    """A contender ended by itself, or did not begin; the end of its log is in the message."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A yardstick has a schema of its own; the service has not, and may run as several processes."""

    name: str
    command: tuple[str, ...]
    schema: str | None = None
    processes: int = 1


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.{name}", *arguments)


_SERVE = (str(Path(sysconfig.get_path("scripts")) / "credits"), "serve")
SERVICE = Contender("service", _SERVE)
SERVICE_TWICE = Contender("service_2_processes", _SERVE, processes=2)
SERVICE_FOUR_TIMES = Contender("service_4_processes", _SERVE, processes=4)
FLOOR = Contender("floor", _module("floor"), schema="floor")
ONE_TRANSACTION = tuple(
    Contender(
        f"one_transaction_pool_{connections}",
        _module("one_transaction", "--connections", str(connections)),
        schema="one_transaction",
    )
    for connections in (8, 16)
)
FASTSTREAM_HANDLER = Contender(
    "faststream_handler", _module("faststream_handler", "--workers", "12"), schema="one_transaction"
)


@dataclass(frozen=True, slots=True)
class Running:
    """A contender's processes, each with a log of its own."""

    processes: list[subprocess.Popen[bytes]]
    logs: list[Path]

    @property
    def pids(self) -> list[int]:
        """Of all its processes."""
        return [process.pid for process in self.processes]

    async def opened(self, look: Callable[[], None] = lambda: None) -> float:
        """When the first of them began to consume: their own logs say so. `look` is called while that is waited for."""
        deadline = time.time() + OPENED_SECONDS_MAX
        while time.time() < deadline:
            times = [logged_at(log, OPENED) for log in self.logs]
            if all(times):
                return min(first for first, *_ in times)
            self.check()
            look()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        raise ContenderFailed(f"nothing was consumed within {OPENED_SECONDS_MAX} s\n{tail(self.logs[0])}")

    def check(self) -> None:
        """Raises if one has ended."""
        for process, log in zip(self.processes, self.logs, strict=True):
            if (code := process.poll()) is not None:
                raise ContenderFailed(f"it ended with exit code {code}\n{tail(log)}")


def logged_at(log: Path, event: str) -> list[float]:
    """When a contender has logged this event, as often as it did."""
    lines = [line for line in log.read_text().splitlines() if f'"event": "{event}"' in line and line.endswith("}")]
    return [datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() for line in lines]


@asynccontextmanager
async def running(contender: Contender, deployment: Deployment, log: Path) -> AsyncIterator[Running]:
    """Runs it in a folder where no settings lie about, and ends it.

    Several processes are held back until all of them share the partitions; then they begin together.
    """
    several = contender.processes > 1
    logs = [log.with_stem(f"{log.stem}-{n}") for n in range(1, contender.processes + 1)] if several else [log]
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            async with held_back(deployment) if several else nullcontext():
                processes.extend(start(contender, deployment, Path(folder), written) for written in logs)
                if several:
                    await all_have_joined(deployment, contender.processes)
            yield Running(processes, logs)
        finally:
            await asyncio.gather(*(asyncio.to_thread(_end, process) for process in processes))


def start(
    contender: Contender, deployment: Deployment, folder: Path, log: Path, more: Mapping[str, str] = NOTHING_MORE
) -> subprocess.Popen[bytes]:
    """One process of it in this folder, with `more` variables in its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CREDITS_")} | deployment.environment()
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), **more}
    with log.open("wb") as written:
        # It dies with the thread that started it.
        return subprocess.Popen(
            contender.command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

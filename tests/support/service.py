"""The real service as processes of its own, in a deployment of one test: database, topics and group."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from support.earlier import EarlierProcess
from support.forked import Forked
from support.oracle import Oracle
from support.patience import patience
from support.plain_http import http_client
from support.ports import next_port
from support.topics import expire_members, make_topics, remove_topics, topics_of
from support.traffic import Upstream
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_READY_SECONDS_MAX = 60
_END_SECONDS_MAX = 40
_LOG_BYTES_SHOWN = 6_000
# The oracle waits for Kafka's offsets, which otherwise follow once a second, in each of some two hundred tests.
_COMMITS_SOON = "from credit_service.kafka.consume import group_offsets; group_offsets.COMMIT_EVERY_SECONDS = 0.1\n"
# The same for earlier states, in which the module was not in a package by subject yet.
_COMMITS_SOON_EARLIER = "from credit_service.kafka import group_offsets; group_offsets.COMMIT_EVERY_SECONDS = 0.1\n"


class ServiceProcess:
    """One `credits serve`."""

    def __init__(self, process: Forked | EarlierProcess, http_port: int, health_port: int, log: Path) -> None:
        self._process = process
        self.http_port = http_port
        self.health_port = health_port
        self.log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines that say `event`."""
        return [line for line in self.lines() if line["event"] == event]

    def lines(self) -> list[dict[str, Any]]:
        """The lines of its log; the last may be half written."""
        whole = self.said().split("\n")[:-1]
        return [json.loads(line) for line in whole if line.startswith("{")]

    async def problems(self) -> dict[str, str]:
        """What `/readyz` says is missing; nothing when ready."""
        return (await self._readyz())[0]

    async def degraded(self) -> dict[str, str]:
        """What `/readyz` says waits for a person."""
        return (await self._readyz())[1]

    async def _readyz(self) -> tuple[dict[str, str], dict[str, str]]:
        assert self.runs, f"the service ended with {self._process.returncode}\n{self.said()[-_LOG_BYTES_SHOWN:]}"
        async with http_client() as client:
            answer = await client.get(f"http://127.0.0.1:{self.health_port}/readyz", timeout=patience(30))
        told = answer.json()
        problems: dict[str, str] = told.get("problems", {})
        assert (answer.status_code == 200) == told["ready"] == (not problems)
        return problems, told.get("degraded", {})

    async def ready(self, within_seconds: float = _READY_SECONDS_MAX) -> Self:
        async def is_ready() -> bool:
            return not await self.problems()

        await eventually(is_ready, within_seconds=within_seconds, what=f"{self.log.name} ready")
        return self

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    async def ended(self, within_seconds: float = _END_SECONDS_MAX) -> int:
        """Waits for the end; the exit code, negative for a signal."""
        async with asyncio.timeout(patience(within_seconds)):
            return await self._process.wait()

    async def terminate(self, within_seconds: float = _END_SECONDS_MAX) -> int:
        """Asks it to end in good order; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(within_seconds)

    async def kill(self) -> None:
        """Ends it as a power cut does."""
        if self.runs:
            self.signal(signal.SIGKILL)
        await self.ended()


@dataclass
class Deployment:
    """The service with its surroundings, used as a context: what was started is ended, also when a test fails."""

    database_url: str
    kafka: str
    prefix: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    processes: list[ServiceProcess] = field(default_factory=list)
    group: str = ""

    def __post_init__(self) -> None:
        self.group = self.group or f"{self.prefix}group"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            if process.runs:
                process.signal(signal.SIGKILL)
                await process.ended()
            # Only shown when the test fails.
            sys.stdout.write(f"--- {process.log.name}\n{process.said()[-_LOG_BYTES_SHOWN:]}\n")
        try:
            async with asyncio.timeout(patience(60)):
                await remove_topics(self.kafka, await topics_of(self.kafka, self.prefix))
        except (OSError, TimeoutError, RuntimeError):
            pass  # of a broker that a test has ended

    async def make_topics(
        self, *, partitions: int = 3, max_message_bytes: int | None = None, but: Collection[str] = ()
    ) -> None:
        await make_topics(self.kafka, self.prefix, partitions=partitions, max_message_bytes=max_message_bytes, but=but)

    def upstream(self) -> Upstream:
        return Upstream(self.kafka, self.prefix)

    def oracle(self) -> Oracle:
        return Oracle(self.database_url, self.kafka, self.group, self.prefix)

    def topic(self, name: str) -> str:
        return self.prefix + name

    async def start(self, *, kill_at: str = "", faults: str = "", **settings: str) -> ServiceProcess:
        """Starts one service, settings named as behind `CREDITS_`, in small letters.

        `faults` is Python that breaks some of its parts before it begins.
        """
        ports, log, environment = self._next(settings | {"kill_at": kill_at})
        return self._began(
            Forked(
                "serve",
                environment=environment,
                folder=self.folder,
                stdout=log,
                stderr=log,
                first=_COMMITS_SOON + faults,
            ),
            ports,
            log,
        )

    async def start_earlier(self, state: Path) -> ServiceProcess:
        """Starts one service of an earlier state: see `support.earlier`."""
        ports, log, environment = self._next({})
        process = await EarlierProcess.start(
            state, "serve", environment=environment, folder=self.folder, log=log, first=_COMMITS_SOON_EARLIER
        )
        return self._began(process, ports, log)

    def _next(self, settings: dict[str, str]) -> tuple[tuple[int, int], Path, dict[str, str]]:
        ports = next_port(), next_port()
        chosen = {
            "database_url": self.database_url,
            "kafka_bootstrap_servers": self.kafka,
            "kafka_group_id": self.group,
            "topic_prefix": self.prefix,
            "http_port": str(ports[0]),
            "health_port": str(ports[1]),
            "log_format": "json",
            **self.settings,
            **settings,
        }
        environment = _environment() | {f"CREDITS_{name.upper()}": value for name, value in chosen.items()}
        return ports, self.folder / f"service-{len(self.processes)}.log", environment

    def _began(self, process: Forked | EarlierProcess, ports: tuple[int, int], log: Path) -> ServiceProcess:
        started = ServiceProcess(process, *ports, log)
        self.processes.append(started)
        return started

    async def killed(self, process: ServiceProcess) -> None:
        """Ends it as a power cut does, and its session in the group with it."""
        await process.kill()
        await self.forget_members()

    async def forget_members(self) -> None:
        """Spares the wait until the broker has noticed that members are gone."""
        await expire_members(self.kafka, self.group)


def _environment() -> dict[str, str]:
    """The caller's, without settings of the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CREDITS_")}

"""One run of the whole bench: what is measured, and in which order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from benchmarks import large
from benchmarks.contenders import (
    FASTSTREAM_HANDLER,
    FLOOR,
    ONE_TRANSACTION,
    SERVICE,
    SERVICE_FOUR_TIMES,
    SERVICE_TWICE,
    Contender,
    ContenderFailed,
    running,
)
from benchmarks.end_to_end import work_off, work_off_in
from benchmarks.latency import events_under_load, lone_events
from benchmarks.mix import Mix
from benchmarks.reconcile import forget_published, reconcile
from benchmarks.replay import replay
from benchmarks.results import Loaded, Measured, Run, Stored, percentile
from benchmarks.storage import added, sizes_of
from benchmarks.watch import TooSlow
from credit_local_stack.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.deployment import Backlog, Deployment, Workshop
    from benchmarks.mix import Message
    from benchmarks.sizes import Sizes

T = TypeVar("T")

PATH_SECONDS_MAX = 120
LARGE_BACKLOG_SECONDS_MAX = 900
LATENCY_ACCOUNTS = 8
LATENCY_CONTENDERS = (SERVICE, FLOOR)
# Charges between a charge and what refers to it, where events are sent live.
REST = 500


@dataclass(frozen=True, slots=True)
class Row:
    """A contender and the backlog that it works off."""

    contender: Contender
    backlog: str

    @property
    def compares(self) -> bool:
        """Whether it is a contender on the mix, and not the service on something else."""
        return self.backlog in ("mix", "shorter mix")

    @property
    def name(self) -> str:
        """As it is called in the results."""
        return self.contender.name if self.compares else self.backlog


MAIN_ROWS = [Row(SERVICE, "mix"), Row(FLOOR, "mix")]
OTHER_ROWS = [
    Row(SERVICE_TWICE, "mix"),
    Row(SERVICE_FOUR_TIMES, "mix"),
    *(Row(contender, "shorter mix") for contender in (*ONE_TRANSACTION, FASTSTREAM_HANDLER)),
    *(Row(SERVICE, backlog) for backlog in ("hot_account", "charges_only", "declines_only")),
]


class Bench:
    """Measures everything; `measured` has all runs, `spent` the seconds that each part took."""

    def __init__(self, sizes: Sizes, workshop: Workshop, logs: Path) -> None:
        self.measured = Measured()
        self.spent: dict[str, float] = defaultdict(float)
        self._sizes = sizes
        self._workshop = workshop
        self._logs = logs
        self._backlogs: dict[str, Backlog] = {}
        self._latency_places: dict[str, Deployment] = {}

    async def run(self) -> None:
        """Row by row and contender by contender, in turns that begin with another one each time."""
        async with AsyncExitStack() as kept:
            with self._timed("preparing"):
                await self._produce()
                await self._prepare_latency(kept)
            for repetition in range(self._sizes.repetitions):
                others = repetition < self._sizes.repetitions_of_others
                for row in _turned([*MAIN_ROWS, *(OTHER_ROWS if others else ())], repetition):
                    with self._timed(row.name):
                        await self._row(row, repetition)
                if others:
                    for contender in _turned(LATENCY_CONTENDERS, repetition):
                        with self._timed(f"latency of {contender.name}"):
                            await self._latency(contender, repetition)
                with self._timed("database path"):
                    await self._database_path(repetition)
        if self._sizes.events_large_backlog is not None:
            with self._timed("large backlog"):
                await self._large_backlog(self._sizes.events_large_backlog)
        if self._sizes.large_states is not None:
            with self._timed("large states"):
                self.measured.large_states = await large.costs(self._workshop, self._logs, self._sizes.large_states)

    # --- what is prepared

    async def _produce(self) -> None:
        sizes, accounts = self._sizes, self._sizes.accounts
        mix = Mix(accounts=accounts, seed=1)
        await self._backlog("mix", mix, mix.events(sizes.events))
        mix = Mix(accounts=accounts, seed=1)
        await self._backlog("hot_account", mix, mix.events(sizes.events, accounts=1))
        mix = Mix(accounts=sizes.accounts_slow, seed=2)
        await self._backlog("shorter mix", mix, mix.events(sizes.events_slow))
        mix = Mix(accounts=accounts, seed=3)
        await self._backlog("charges_only", mix, mix.generated(sizes.events_charged_or_declined))
        mix = Mix(accounts=accounts, seed=3, monthly_credits=0)
        await self._backlog("declines_only", mix, mix.generated(sizes.events_charged_or_declined))

    async def _backlog(self, name: str, mix: Mix, events: Iterator[Message]) -> None:
        backlog = await self._workshop.backlog(mix.plans(), events)
        self._backlogs[name] = backlog
        say(f"a backlog waits, {name}: {backlog.messages:,} messages, {backlog.changes:,} of them change a balance")

    async def _prepare_latency(self, kept: AsyncExitStack) -> None:
        for contender in LATENCY_CONTENDERS:
            place = self._workshop.place(await self._workshop.topics())
            await kept.enter_async_context(self._workshop.database(place, contender.schema))
            self._latency_places[contender.name] = place

    # --- what is measured

    async def _row(self, row: Row, repetition: int) -> None:
        backlog, log = self._backlogs[row.backlog], self._log(row.name, repetition)
        if row == MAIN_ROWS[0]:
            run = await self._service(backlog, log, repetition)
        else:
            run = await work_off(self._workshop, row.contender, backlog, log)
        rows = self.measured.end_to_end if row.compares else self.measured.of_the_service
        rows.setdefault(row.name, []).append(run)
        say(f"{row.name}, end to end, {repetition + 1}: {run.messages_per_second:,.0f} messages/s")

    async def _service(self, backlog: Backlog, log: Path, repetition: int) -> Run:
        """The live run, what agrees after it, then the same topics once more, and what is stored in the end."""
        place = self._workshop.place(backlog.topic_prefix)
        async with self._workshop.database(place, None):
            empty = await sizes_of(place)
            await forget_published(place)
            run = await work_off_in(place, SERVICE, backlog, log)
            with self._timed("reconcile"):
                reconciled = await reconcile(place, backlog)
            with self._timed("replay"):
                again = await replay(place, backlog, run, log, self._log("replay", repetition))
            stored = Stored(backlog.messages, added(empty, await sizes_of(place, vacuumed=True)))
        self.measured.replays.append(again)
        self.measured.reconciled.append(reconciled)
        self.measured.stored.append(stored)
        say(f"reconcile, {repetition + 1}: {reconciled.messages_per_second:,.0f} messages/s")
        say(f"replay, {repetition + 1}: {again.run.messages_per_second:,.0f} messages/s")
        say(f"stored, {repetition + 1}: {stored.bytes_per_message:,.0f} bytes a message")
        return run

    async def _latency(self, contender: Contender, repetition: int) -> None:
        """Of lone events, and of events at half of what the service has worked off end to end."""
        place = self._latency_places[contender.name]
        live = self.measured.end_to_end[SERVICE.name]
        rate = statistics.median(run.messages_per_second for run in live) / 2
        async with running(contender, place, self._log(f"{contender.name}-latency", repetition)) as members:
            await members.opened()
            mix = Mix(accounts=LATENCY_ACCOUNTS, seed=100 + repetition)
            lone = await lone_events(place, mix, self._sizes.lone_events_a_round)
            mix = Mix(accounts=self._sizes.accounts, seed=200 + repetition, rest=REST)
            among_others = await events_under_load(place, mix, rate, self._sizes.half_load_seconds)
        self.measured.lone_event_seconds.setdefault(contender.name, []).append(lone)
        self.measured.under_load.setdefault(contender.name, []).append(Loaded(rate, among_others))
        for kind, seconds in (("lone events", lone), (f"events at {rate:,.0f} a second", among_others)):
            say(f"{contender.name}, {kind}, {repetition + 1}: p50 {1_000 * percentile(seconds, 50):.1f} ms")

    async def _database_path(self, repetition: int) -> None:
        place = self._workshop.place("")
        command = [sys.executable, "-m", "benchmarks.database_path"]
        command += ["--accounts", str(self._sizes.accounts), "--events", str(self._sizes.events)]
        command += ["--floor-first"] * (repetition % 2)
        async with self._workshop.database(place, FLOOR.schema):
            told = json.loads(await _output(command, place.environment()))
        self.measured.statements = told["statements"]
        for name, rate in told["messages_per_second"].items():
            self.measured.database_path.setdefault(name, []).append(rate)
            say(f"{name}, database path, {repetition + 1}: {rate:,.0f} messages/s")

    async def _large_backlog(self, events: int) -> None:
        mix = Mix(accounts=self._sizes.accounts, seed=4)
        backlog = await self._workshop.backlog(mix.plans(), mix.events(events))
        log = self._logs / "large-backlog.log"
        run = await work_off(self._workshop, SERVICE, backlog, log, LARGE_BACKLOG_SECONDS_MAX)
        self.measured.large_backlog = run
        say(f"peak memory at a backlog of {run.messages:,} messages: {run.peak_memory_mib} MiB")

    def _log(self, name: str, repetition: int) -> Path:
        return self._logs / f"{name}-{repetition + 1}.log"

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent[part] += time.monotonic() - began


async def _output(command: list[str], environment: dict[str, str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent(signal.SIGKILL),
    )
    try:
        async with asyncio.timeout(PATH_SECONDS_MAX):
            written, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise TooSlow(f"{command} took more than {PATH_SECONDS_MAX} s") from None
    if process.returncode:
        raise ContenderFailed(f"{command} ended with exit code {process.returncode}")
    return written


def _turned(what: Sequence[T], by: int) -> Sequence[T]:
    by %= len(what)
    return [*what[by:], *what[:by]]


def say(line: str) -> None:
    """Talk goes to stderr, what was measured to stdout."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - see above

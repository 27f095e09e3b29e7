"""`make bench`: the service against its yardsticks, in one run, on one stack, repetitions interleaved."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import results
from benchmarks.contenders import FLOOR, ONE_TRANSACTION, SERVICE, Contender, ContenderFailed, running
from benchmarks.cost import CpuMeter, peak_memory_mib
from benchmarks.deployment import Backlog, Deployment, Workshop
from benchmarks.latency import lone_events
from benchmarks.machine import describe
from benchmarks.mix import Mix
from benchmarks.results import Measured, Run
from benchmarks.watch import TooSlow, watching
from credit_local_stack import Addresses
from credit_local_stack.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

RUN_SECONDS_MAX = 300
PATH_SECONDS_MAX = 120
LATENCY_ACCOUNTS = 8
ACCOUNTS_MAX = 5_000
EVENTS_AN_ACCOUNT = 20
LATENCY_CONTENDERS = (SERVICE, FLOOR, ONE_TRANSACTION[0])


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The slow yardstick gets a shorter backlog of the same mix: a rate needs no more."""

    repetitions: int
    events: int
    events_one_transaction: int
    events_database_path: int
    lone_events_a_round: int
    events_large_backlog: int | None


SIZES = {
    "short": Sizes(
        repetitions=3,
        events=40_000,
        events_one_transaction=4_000,
        events_database_path=20_000,
        lone_events_a_round=80,
        events_large_backlog=300_000,
    ),
    "full": Sizes(
        repetitions=5,
        events=100_000,
        events_one_transaction=30_000,
        events_database_path=60_000,
        lone_events_a_round=200,
        events_large_backlog=300_000,
    ),
    # Whether the bench itself works; its figures mean nothing.
    "tiny": Sizes(
        repetitions=1,
        events=2_000,
        events_one_transaction=500,
        events_database_path=2_000,
        lone_events_a_round=10,
        events_large_backlog=None,
    ),
}


def accounts_for(events: int) -> int:
    """So many that the plans, which come first, are an equally small part of every backlog."""
    return min(ACCOUNTS_MAX, events // EVENTS_AN_ACCOUNT)


class Bench:
    """One run of the whole bench."""

    def __init__(self, sizes: Sizes, workshop: Workshop, logs: Path) -> None:
        self.measured = Measured()
        self._sizes = sizes
        self._workshop = workshop
        self._logs = logs
        self._latency_places: dict[str, Deployment] = {}

    async def run(self) -> None:
        """Everything, contender by contender in turns that begin with another one each time."""
        sizes = self._sizes
        async with AsyncExitStack() as kept:
            long = await self._backlog(sizes.events, seed=1)
            short = await self._backlog(sizes.events_one_transaction, seed=2)
            for contender in LATENCY_CONTENDERS:
                place = self._workshop.place(await self._workshop.topics())
                await kept.enter_async_context(self._workshop.database(place, contender.schema))
                self._latency_places[contender.name] = place
            for repetition in range(sizes.repetitions):
                for contender in _turned((SERVICE, FLOOR, *ONE_TRANSACTION), repetition):
                    await self._end_to_end(contender, short if contender in ONE_TRANSACTION else long, repetition)
                for contender in _turned(LATENCY_CONTENDERS, repetition):
                    await self._lone_events(contender, repetition)
                await self._database_path(repetition)
        if sizes.events_large_backlog is not None:
            backlog = await self._backlog(sizes.events_large_backlog, seed=3)
            self.measured.large_backlog = await self._work_off(SERVICE, backlog, "large-backlog")

    async def _backlog(self, events: int, seed: int) -> Backlog:
        mix = Mix(accounts=accounts_for(events), seed=seed)
        backlog = await self._workshop.backlog(mix.plans(), mix.events(events))
        say(f"a backlog of {backlog.messages:,} messages waits, {backlog.changes:,} of them change a balance")
        return backlog

    async def _end_to_end(self, contender: Contender, backlog: Backlog, repetition: int) -> None:
        run = await self._work_off(contender, backlog, f"{contender.name}-{repetition + 1}")
        self.measured.end_to_end.setdefault(contender.name, []).append(run)
        say(f"{contender.name}, end to end, {repetition + 1}: {run.messages_per_second:,.0f} messages/s")

    async def _work_off(self, contender: Contender, backlog: Backlog, name: str) -> Run:
        """From when the contender begins to consume until its last change is readable."""
        place = self._workshop.place(backlog.topic_prefix)
        async with (
            self._workshop.database(place, contender.schema),
            watching(place) as watch,
            running(contender, place, self._logs / f"{name}.log") as process,
        ):
            meter = CpuMeter(process.pid)

            def look() -> None:
                process.check()
                meter.note()

            began = await process.opened(meter.note)
            ended = await watch.until(backlog.changes, RUN_SECONDS_MAX, look)
            return Run(
                backlog.messages,
                backlog.changes,
                ended - began,
                meter.spent(began, ended, backlog.messages),
                peak_memory_mib(process.pid),
            )

    async def _lone_events(self, contender: Contender, repetition: int) -> None:
        place = self._latency_places[contender.name]
        async with running(contender, place, self._logs / f"{contender.name}-lone-{repetition + 1}.log") as process:
            await process.opened()
            mix = Mix(accounts=LATENCY_ACCOUNTS, seed=100 + repetition)
            seconds = await lone_events(place, mix, self._sizes.lone_events_a_round)
        self.measured.lone_event_seconds.setdefault(contender.name, []).append(seconds)
        say(f"{contender.name}, lone events, {repetition + 1}: p50 {1_000 * results.percentile(seconds, 50):.1f} ms")

    async def _database_path(self, repetition: int) -> None:
        place, events = self._workshop.place(""), self._sizes.events_database_path
        command = [sys.executable, "-m", "benchmarks.database_path"]
        command += ["--accounts", str(accounts_for(events)), "--events", str(events)]
        command += ["--floor-first"] * (repetition % 2)
        async with self._workshop.database(place, FLOOR.schema):
            rates = json.loads(await _output(command, place.environment()))
        for name, rate in rates.items():
            self.measured.database_path.setdefault(name, []).append(rate)
            say(f"{name}, database path, {repetition + 1}: {rate:,.0f} messages/s")


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


def _turned(contenders: Sequence[Contender], by: int) -> Sequence[Contender]:
    by %= len(contenders)
    return [*contenders[by:], *contenders[:by]]


async def bench(mode: str, out: Path) -> None:
    """Measures, and writes what came out."""
    addresses = Addresses.given(os.environ)
    if addresses is None:
        raise SystemExit(
            "the bench needs both addresses in its environment; `make bench` starts a stack and gives them"
        )
    began = time.monotonic()
    machine = await describe(addresses.database_url)
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(addresses)
    try:
        await workshop.start()
        run = Bench(SIZES[mode], workshop, logs)
        await run.run()
    finally:
        await workshop.close()
    quotients = results.ratios(run.measured)
    written = {
        "mode": mode,
        "sizes": asdict(SIZES[mode]),
        "seconds": round(time.monotonic() - began),
        "machine": machine,
        "figures": results.figures(run.measured),
        "ratios": quotients,
    }
    (out / "results.json").write_text(json.dumps(written, indent=2) + "\n")
    sys.stdout.write(
        f"{results.table(run.measured, quotients)}\n\n{mode} mode, {written['seconds']} s; all of it in {out}\n"
    )


def say(line: str) -> None:
    """Talk goes to stderr, what was measured to stdout."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - see above


def main() -> int:
    """MODE=short (the default) or MODE=full, from the environment."""
    parser = argparse.ArgumentParser(prog="benchmarks.run")
    parser.add_argument("--out", type=Path, required=True, help="the folder for results.json and the logs")
    out = parser.parse_args().out
    mode = os.environ.get("MODE") or "short"
    if mode not in SIZES:
        parser.error(f"MODE is {mode!r}: it can be {', '.join(SIZES)}")
    # It says of each partition of a new topic that it has no leader yet.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    try:
        asyncio.run(bench(mode, out))
    except (ContenderFailed, TooSlow) as error:
        say(f"the bench ends here: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

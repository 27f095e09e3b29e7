"""How long nothing is published when members end and start again: killed, stopped, and one after the other.

`python -m benchmarks.restart --out folder` starts stacks of its own, since what is asked is a setting of the broker:
one whose groups wait for more members once they were empty, as Kafka does unless it is told otherwise, and one whose
groups do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import statistics
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.contenders import SERVICE, Running, start
from benchmarks.deployment import BALANCE_CHANGED, Deployment, Workshop
from benchmarks.mix import Mix
from benchmarks.watch import TooSlow
from credit_contracts.topics import PARTITIONS, partition_for
from credit_local_stack import Stack
from credit_service.runtime.loop import run_in_loop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

DELAYS_MS = (0, 3_000)
EVENTS_PER_SECOND = 120
ACCOUNTS = 120
MEMBERS = 3
# What comes before and after is told apart from what a restart does.
CALM_SECONDS = 3.0
AGAIN_SECONDS_MAX = 90
END_SECONDS_MAX = 60
READ_WAIT_MS = 500
TICK_SECONDS = 0.01


@dataclass(slots=True)
class Traffic:
    """Events of now, sent evenly, and when a read_committed consumer had the changes that they caused."""

    deployment: Deployment
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    mix: Mix = field(default_factory=lambda: Mix(accounts=ACCOUNTS, seed=19))
    # The time at which it was there, the time at which the relay made it, and the partition.
    seen: list[tuple[float, float, int]] = field(default_factory=list)

    async def plans(self) -> None:
        """Gives each account its plan."""
        for plan in self.mix.plans():
            await self._send(plan.type, plan.key, plan.value, plan.headers)

    async def send(self) -> None:
        """Sends until it is cancelled."""
        began, number = time.monotonic(), 0
        while True:
            while number < (time.monotonic() - began) * EVENTS_PER_SECOND:
                event = self.mix.lone(number)
                await self._send(event.type, event.key, event.value, event.headers)
                number += 1
            await asyncio.sleep(TICK_SECONDS)

    async def read(self) -> None:
        """Reads until it is cancelled."""
        while True:
            fetched = await self.consumer.getmany(timeout_ms=READ_WAIT_MS)
            now = time.time()
            for at, records in fetched.items():
                self.seen += [(now, record.timestamp / 1000, at.partition) for record in records]

    async def first_since(self, moment: float) -> float:
        """When the first change was there that was made after `moment`."""
        async with asyncio.timeout(AGAIN_SECONDS_MAX):
            while not (found := [there for there, made, _ in self.seen if made > moment]):  # noqa: ASYNC110 - see `read`
                await asyncio.sleep(TICK_SECONDS)
        return found[0]

    def longest_silence(self, begin: float, end: float) -> float:
        """The longest time between `begin` and `end` for which a partition brought nothing."""
        longest = 0.0
        for number in range(PARTITIONS):
            times = [begin, *sorted(there for there, _, at in self.seen if at == number and begin < there < end), end]
            longest = max(longest, *(later - earlier for earlier, later in pairwise(times)))
        return longest

    async def _send(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        await self.producer.send(
            self.deployment.topic_prefix + topic,
            key=key,
            value=value,
            headers=headers,
            partition=partition_for(key, PARTITIONS),
        )


class Members:
    """The processes of one deployment, by their names."""

    def __init__(self, deployment: Deployment, folder: Path, *, are_named: bool) -> None:
        self._deployment = deployment
        self._folder = folder
        self._are_named = are_named
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = 0

    async def start(self, name: str) -> Path:
        """Starts a member; the file of its log."""
        self._logs += 1
        log = self._folder / f"{self._deployment.group_id}-{self._logs}-{name}.log"
        more = {"CREDITS_INSTANCE_ID": name} if self._are_named else {}
        # Compiled once, as the image has it: to compile it anew takes longer than all else of a start.
        more |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self._folder / "bytecode")}
        self._processes[name] = start(SERVICE, self._deployment, self._folder, log, more)
        return log

    async def opened(self, name: str, log: Path) -> None:
        """Waits until it has partitions."""
        await Running([self._processes[name]], [log]).opened()

    async def end(self, name: str, how: signal.Signals) -> None:
        """Ends it, and waits for that."""
        process = self._processes.pop(name)
        process.send_signal(how)
        await asyncio.to_thread(process.wait, END_SECONDS_MAX)

    async def close(self) -> None:
        """Ends all that are left."""
        for name in list(self._processes):
            await self.end(name, signal.SIGKILL)


@asynccontextmanager
async def traffic(deployment: Deployment) -> AsyncIterator[Traffic]:
    """Under way for as long as this lasts."""
    servers = deployment.bootstrap_servers.split(",")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="latest",
    )
    async with consumer, AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True) as producer:
        partitions = [TopicPartition(deployment.topic_prefix + BALANCE_CHANGED, n) for n in range(PARTITIONS)]
        consumer.assign(partitions)
        for partition in partitions:
            await consumer.position(partition)
        under_way = Traffic(deployment, producer, consumer)
        await under_way.plans()
        tasks = [asyncio.create_task(under_way.send()), asyncio.create_task(under_way.read())]
        try:
            yield under_way
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def alone(traffic: Traffic, members: Members, how: signal.Signals, rounds: int) -> list[float]:
    """One member, ended and started at once: the seconds from the start of the process to the next change."""
    log = await members.start("one")
    await members.opened("one", log)
    seconds = []
    for _ in range(rounds):
        await traffic.first_since(time.time())
        await asyncio.sleep(CALM_SECONDS)
        await members.end("one", how)
        began = time.time()
        await members.start("one")
        seconds.append(await traffic.first_since(began) - began)
    return seconds


async def rolling(traffic: Traffic, members: Members, rounds: int) -> list[float]:
    """Three members, each stopped and started one after the other: the longest silence of any partition."""
    names = [f"m{number}" for number in range(MEMBERS)]
    for name in names:
        await members.opened(name, await members.start(name))
    silences = []
    for _ in range(rounds):
        await traffic.first_since(time.time())
        await asyncio.sleep(CALM_SECONDS)
        began = time.time()
        for name in names:
            await members.end(name, signal.SIGTERM)
            await members.opened(name, await members.start(name))
        await asyncio.sleep(CALM_SECONDS)
        silences.append(traffic.longest_silence(began, time.time()))
    return silences


async def measure(delay_ms: int, out: Path, parts: list[str], rounds: int) -> dict[str, list[float]]:
    """All parts, on servers of their own."""
    found: dict[str, list[float]] = {}
    with Stack(kafka_rebalance_delay_ms=delay_ms) as stack:
        workshop = Workshop(stack.addresses)
        try:
            await workshop.start()
            for part in parts:
                place = workshop.place(await workshop.topics())
                members = Members(place, out, are_named=part != "killed, without a name")
                try:
                    async with workshop.database(place, None), traffic(place) as under_way:
                        try:
                            found[part] = await PARTS[part](under_way, members, rounds)
                        finally:
                            await members.close()
                except TimeoutError:
                    raise TooSlow(f"{part}: nothing was published within {AGAIN_SECONDS_MAX} s") from None
                _say(f"delay {delay_ms} ms, {part}: {_told(found[part])}")
        finally:
            await workshop.close()
    return found


PARTS = {
    "killed": lambda traffic, members, rounds: alone(traffic, members, signal.SIGKILL, rounds),
    "killed, without a name": lambda traffic, members, rounds: alone(traffic, members, signal.SIGKILL, rounds),
    "stopped": lambda traffic, members, rounds: alone(traffic, members, signal.SIGTERM, rounds),
    "rolling": rolling,
}


def _told(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s of {', '.join(f'{one:.2f}' for one in seconds)}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - talk, beside what is measured


async def _all(out: Path, parts: list[str], delays: list[int], rounds: int) -> None:
    measured = {f"delay {delay} ms": await measure(delay, out, parts, rounds) for delay in delays}
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    (out / "restart.json").write_text(json.dumps({"load": load, "seconds": measured}, indent=2) + "\n")
    _say(f"load of the machine at the end: {load}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.restart")
    parser.add_argument("--out", type=Path, required=True, help="the folder for restart.json and the logs")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="this part alone; several are possible")
    parser.add_argument("--delay-ms", action="append", type=int, help="with this delay of the broker alone")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    # It says of each partition of a new topic that it has no leader yet.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    run_in_loop(_all(given.out, given.part or list(PARTS), given.delay_ms or list(DELAYS_MS), given.rounds))

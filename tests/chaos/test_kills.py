"""SIGKILL, as by a power cut, over and over while events come in; afterwards every promise holds.

Each run prints its seed; CHAOS_SEED=seed plays it again. The long form is `make chaos`, for CHAOS_ROUNDS rounds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
import pytest

from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData
from support.reconciled import reconcile
from support.service import Deployment, ServiceProcess
from support.traffic import random_traffic, slices
from support.wait import eventually

POINTS = [
    "before-transaction",
    "inside-transaction",
    "after-commit",
    "before-kafka-commit",
    "after-kafka-commit",
    "before-cleanup",
]
PATIENCE_SECONDS = 8
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))

Events = list[Event[IncomingData]]


@dataclass
class Run:
    """One run under kills: its chances, what is sent, and how much of it in each round."""

    deployment: Deployment
    rng: random.Random
    parts: list[Events]

    async def send_slowly(self, events: Events) -> None:
        """Sends in small portions, so that the service works while more comes in."""
        async with self.deployment.upstream() as upstream:
            for portion in slices(events, 10):
                await upstream.send(portion)

    async def round(self, events: Events, kill_at: str) -> None:
        """Sends to a service that ends itself at a point of an event's way."""
        service = await self.deployment.start(kill_at=kill_at, batch_records_max="20")
        sending = asyncio.create_task(self.send_slowly(events))
        while service.runs:
            with suppress(TimeoutError):
                await service.ended(PATIENCE_SECONDS)
                break
            # It was quick, and has not come to the point so often yet.
            await self.send_slowly(random_traffic(self.rng.getrandbits(32), accounts=3, events=30))
        assert await service.ended() == -signal.SIGKILL
        await sending
        await self.deployment.forget_members()

    async def settle(self) -> None:
        """A last service works off what is left; then the oracle is asked."""
        service = await self.deployment.start()
        observed = await self.deployment.oracle().check()
        assert not observed.dead_letters
        assert not observed.gaps
        assert {d["outcome"] for d in observed.decisions} >= {"charged", "refunded", "declined", "renewed"}
        assert (await reconcile(self.deployment)).findings == []
        assert await service.terminate() == 0


async def run_of(deployment: Deployment, point: str, rounds: int) -> Run:
    seed = os.environ.get("CHAOS_SEED") or f"{random.getrandbits(32):08x}"
    print(f"CHAOS_SEED={seed}")  # noqa: T201 - shown when the test fails
    # Of the point as well, so that the points do not all play the same.
    rng = random.Random(f"{seed}:{point}")
    await deployment.make_topics()
    events = random_traffic(rng.getrandbits(32), events=max(300, rounds * 80))
    return Run(deployment, rng, [list(part) for part in slices(events, -(-len(events) // rounds))])


async def kill_at(deployment: Deployment, point: str, rounds: int) -> None:
    run = await run_of(deployment, point, rounds)
    for part in run.parts:
        await run.round(part, f"{point}:{run.rng.randint(1, 3)}")
    await run.settle()


async def kill_at_random(deployment: Deployment, rounds: int) -> None:
    run = await run_of(deployment, "random", rounds)
    for part in run.parts:
        service = await deployment.start(batch_records_max="20")
        sending = asyncio.create_task(run.send_slowly(part))
        await decided_more(deployment, run.rng.randint(1, len(part)), service)
        await deployment.killed(service)
        await sending
    await run.settle()


async def decided_more(deployment: Deployment, count: int, service: ServiceProcess) -> None:
    """Waits until so many messages more were taken in, or it is clear that no more are to come."""
    connection = await asyncpg.connect(deployment.database_url)

    async def taken_in() -> int:
        taken: int = await connection.fetchval(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM credits.partition_offsets"
        )
        return taken

    try:
        before = await taken_in()

        async def enough() -> bool:
            return await taken_in() >= before + count or not service.runs

        with suppress(AssertionError):
            await eventually(enough, within_seconds=15)
    finally:
        await connection.close()


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_point_twice(deployment: Deployment, point: str) -> None:
    await kill_at(deployment, point, rounds=2)


async def test_killed_at_random_moments(deployment: Deployment) -> None:
    await kill_at_random(deployment, rounds=3)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_point_many_times(deployment: Deployment, point: str) -> None:
    await kill_at(deployment, point, ROUNDS)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_killed_at_random_moments_many_times(deployment: Deployment) -> None:
    await kill_at_random(deployment, ROUNDS * 2)

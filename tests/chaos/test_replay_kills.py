"""A replay that is killed over and over, with SIGKILL, and run again: every message ends once, and nothing twice.

Each run prints its seed; CHAOS_SEED=seed plays it again. The long form is `make chaos`, for CHAOS_ROUNDS rounds.
"""

from __future__ import annotations

import os
import random
import signal

import asyncpg
import pytest

from support.observed import observe_ledger
from support.replays import WHY, pass_over, replay, start_replay
from support.service import Deployment
from support.traffic import random_traffic, slices
from support.wait import eventually

POINTS = ["before-transaction", "inside-transaction", "after-commit"]
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))
# Batches as small as this rate: so there is always something left to be killed in.
RATE = 40
DECIDED = "SELECT count(*) FROM credits.decisions"


def seeded(point: str) -> random.Random:
    seed = os.environ.get("CHAOS_SEED") or f"{random.getrandbits(32):08x}"
    print(f"CHAOS_SEED={seed}")  # noqa: T201 - shown when the test fails
    return random.Random(f"{seed}:{point}")


async def passed_over(deployment: Deployment, rng: random.Random, events: int) -> None:
    """Traffic that the service believes to have read, and has not."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        sent = []
        for portion in slices(random_traffic(rng.getrandbits(32), events=events), 10):
            sent += await upstream.send(portion)
    await pass_over(deployment, sent)


async def settle(deployment: Deployment) -> None:
    """A last replay decides what is left; a service publishes; then the oracle is asked, and all is replayed again."""
    last = await replay(deployment, *WHY)
    assert last.exit_code == 0
    service = await deployment.start()
    observed = await deployment.oracle().check()
    assert not observed.dead_letters
    assert not observed.gaps
    assert {d["outcome"] for d in observed.decisions} >= {"charged", "refunded", "declined"}
    # Its timers may bring more about until then.
    assert await service.terminate() == 0
    before = await observe_ledger(deployment.database_url, deployment.prefix)
    again = await replay(deployment, *WHY)
    assert set(again.summary["fates"]) == {"duplicate"}
    assert await observe_ledger(deployment.database_url, deployment.prefix) == before


async def killed_at_a_point(deployment: Deployment, point: str, rounds: int) -> None:
    rng = seeded(point)
    await passed_over(deployment, rng, events=max(300, rounds * 120))
    for _ in range(rounds):
        process = start_replay(deployment, "--rate", str(RATE), kill_at=f"{point}:{rng.randint(1, 2)}")
        assert await process.wait() == -signal.SIGKILL
    await settle(deployment)


async def killed_at_random(deployment: Deployment, rounds: int) -> None:
    rng = seeded("random")
    # More than it can replay before it is killed, also when the kill comes late.
    await passed_over(deployment, rng, events=max(1_200, rounds * 120))
    connection = await asyncpg.connect(deployment.database_url)
    try:
        for _ in range(rounds):
            enough = await connection.fetchval(DECIDED) + rng.randint(1, RATE)

            async def has_decided(at_least: int = enough) -> bool:
                return bool(await connection.fetchval(DECIDED) >= at_least)

            process = start_replay(deployment, "--rate", str(RATE))
            await eventually(has_decided)
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
    finally:
        await connection.close()
    await settle(deployment)


@pytest.mark.parametrize("point", POINTS)
async def test_a_replay_killed_at_a_point_twice(deployment: Deployment, point: str) -> None:
    await killed_at_a_point(deployment, point, rounds=2)


async def test_a_replay_killed_at_random_moments(deployment: Deployment) -> None:
    await killed_at_random(deployment, rounds=3)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("point", POINTS)
async def test_a_replay_killed_at_a_point_many_times(deployment: Deployment, point: str) -> None:
    await killed_at_a_point(deployment, point, ROUNDS)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_a_replay_killed_at_random_moments_many_times(deployment: Deployment) -> None:
    await killed_at_random(deployment, ROUNDS)

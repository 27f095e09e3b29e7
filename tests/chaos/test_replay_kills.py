"""A replay that is killed over and over, with SIGKILL, and run again: every message ends once, and nothing twice.

Each run prints its seed; CHAOS_SEED=seed plays it again. The long form is `make chaos`, for CHAOS_ROUNDS rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from chaos.armed import POINTS_OF_THE_LEDGER
from chaos.faults import Fault
from chaos.harness import Harness
from chaos.plan import ROUNDS, chances, new_seed
from chaos.replay_faults import BATCH, KillReplayAtPoint, KillReplayAtRandom
from chaos.scene import Scene
from support.observed import observe_ledger
from support.replays import WHY, pass_over, replay
from support.service import Deployment
from support.traffic import random_traffic, slices

# For each kill, also when it comes late.
BATCHES = 3


async def passed_over(deployment: Deployment, seed: str, events: int) -> None:
    """Traffic that the service believes to have read, and has not."""
    async with deployment.upstream() as upstream:
        sent = []
        for portion in slices(random_traffic(chances(seed, "traffic").getrandbits(32), events=events), 50):
            sent += await upstream.send(portion)
    await pass_over(deployment, sent)


async def survives(scene: Scene, tell: Callable[[str], None], seed: str, faults: Sequence[Fault]) -> None:
    async with Harness(scene, seed, tell).running(members=0) as harness:
        await passed_over(scene.deployment, seed, events=len(faults) * BATCH * BATCHES)
        for fault in faults:
            async with harness.under(fault):
                pass
        await settle(harness)
    harness.report.assert_all_over(len(faults))


async def settle(harness: Harness) -> None:
    """A last replay decides what is left; a service publishes; then the oracle is asked, and all is replayed again."""
    deployment = harness.scene.deployment
    last = await replay(deployment, *WHY)
    assert last.exit_code == 0
    await harness.scene.start()
    observed = await harness.check()
    assert not observed.dead_letters
    assert {d["outcome"] for d in observed.decisions} >= {"charged", "refunded", "declined"}
    # Its timers may bring more about until then.
    await harness.end()
    before = await observe_ledger(deployment.database_url, deployment.prefix)
    again = await replay(deployment, *WHY)
    assert set(again.summary["fates"]) == {"duplicate"}
    assert await observe_ledger(deployment.database_url, deployment.prefix) == before


def at_points(seed: str, points: Sequence[str], rounds: int) -> list[Fault]:
    rng = chances(seed, f"at {' '.join(points)}")
    return [KillReplayAtPoint(point, rng.randint(1, 2)) for _ in range(rounds) for point in points]


def at_random(seed: str, rounds: int) -> list[Fault]:
    rng = chances(seed, "at random")
    return [KillReplayAtRandom(rng.randint(1, BATCH)) for _ in range(rounds)]


async def test_a_replay_killed_at_random_moments_and_at_each_point_twice(
    scene: Scene, tell: Callable[[str], None]
) -> None:
    seed = new_seed()
    await survives(scene, tell, seed, [*at_random(seed, rounds=3), *at_points(seed, POINTS_OF_THE_LEDGER, rounds=2)])


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("point", POINTS_OF_THE_LEDGER)
async def test_a_replay_killed_at_a_point_many_times(scene: Scene, tell: Callable[[str], None], point: str) -> None:
    seed = new_seed()
    await survives(scene, tell, seed, at_points(seed, [point], ROUNDS))


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_a_replay_killed_at_random_moments_many_times(scene: Scene, tell: Callable[[str], None]) -> None:
    seed = new_seed()
    await survives(scene, tell, seed, at_random(seed, ROUNDS))

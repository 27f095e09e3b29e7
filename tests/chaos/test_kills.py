"""SIGKILL, as by a power cut, over and over while events come in; afterwards every promise holds.

Each run prints its seed; CHAOS_SEED=seed plays it again. The long form is `make chaos`, for CHAOS_ROUNDS rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from chaos.armed import POINTS
from chaos.faults import Fault, KillAtPoint, KillAtRandom
from chaos.harness import Harness
from chaos.plan import ROUNDS, chances, in_a_row, new_seed
from chaos.scene import Scene
from chaos.workload import traffic_only

EVENTS = 40
POINT_COUNT_MAX = 3
OUTCOMES = {"charged", "refunded", "declined", "renewed"}


async def survives(scene: Scene, tell: Callable[[str], None], seed: str, faults: Sequence[Fault]) -> None:
    """Alone: what a kill leaves undone is not done by another before the next kill."""
    workload = traffic_only(chances(seed, "traffic"), sections=len(faults), events=max(EVENTS, 300 // len(faults)))
    async with Harness(scene, seed, tell).running(members=1) as harness:
        await harness.run(in_a_row(faults), workload)
        observed = await harness.check()
        assert {d["outcome"] for d in observed.decisions} >= OUTCOMES
        await harness.end()
    harness.report.assert_all_over(len(faults))


def at_points(seed: str, points: Sequence[str], rounds: int) -> list[Fault]:
    rng = chances(seed, f"at {' '.join(points)}")
    return [KillAtPoint(point, rng.randint(1, POINT_COUNT_MAX)) for _ in range(rounds) for point in points]


def at_random(seed: str, rounds: int) -> list[Fault]:
    rng = chances(seed, "at random")
    return [KillAtRandom(0, rng.randint(1, EVENTS)) for _ in range(rounds)]


async def test_killed_at_each_point_twice_and_at_random_moments(scene: Scene, tell: Callable[[str], None]) -> None:
    seed = new_seed()
    await survives(scene, tell, seed, [*at_points(seed, POINTS, rounds=2), *at_random(seed, rounds=3)])


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_point_many_times(scene: Scene, tell: Callable[[str], None], point: str) -> None:
    seed = new_seed()
    await survives(scene, tell, seed, at_points(seed, [point], ROUNDS))


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_killed_at_random_moments_many_times(scene: Scene, tell: Callable[[str], None]) -> None:
    seed = new_seed()
    await survives(scene, tell, seed, at_random(seed, ROUNDS * 2))

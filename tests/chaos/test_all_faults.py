"""Two members, a workload of all kinds, and faults that are drawn from a seed; afterwards every promise holds.

A run is repeated by its seed, CHAOS_SEED=seed. The long form is `make chaos`, for CHAOS_ROUNDS rounds.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from chaos.harness import Harness
from chaos.plan import ON_OWN_SERVERS, ON_SHARED_SERVERS, ROUNDS, chances, drawn, new_seed
from chaos.scene import Scene
from chaos.workload import all_kinds, on_duty

MEMBERS = 2
SEEDS = [given] if (given := os.environ.get("CHAOS_SEED")) else ["koral"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_three_faults(scene: Scene, tell: Callable[[str], None], seed: str) -> None:
    rng = chances(seed, "three")
    strikes = drawn(rng, ON_SHARED_SERVERS, 3, members=MEMBERS)
    workload = all_kinds(rng, sections=3, events=30)
    async with Harness(scene, seed, tell).running(members=MEMBERS) as harness, on_duty(scene):
        await harness.run(strikes, workload)
        await harness.check(workload)
        await harness.end()
    harness.report.assert_all_over(3)


@pytest.mark.chaos
@pytest.mark.local_stack
@pytest.mark.timeout(7200)
async def test_all_faults_over_and_over(own_scene: Scene, tell: Callable[[str], None]) -> None:
    seed = new_seed()
    rng = chances(seed, "all")
    count = ROUNDS * len(ON_OWN_SERVERS)
    strikes = drawn(rng, ON_OWN_SERVERS, count, members=MEMBERS, hold_seconds_max=3.0)
    workload = all_kinds(rng, sections=count, events=40)
    async with Harness(own_scene, seed, tell).running(members=MEMBERS) as harness, on_duty(own_scene):
        await harness.run(strikes, workload)
        await harness.check(workload)
        await harness.end()
    harness.report.assert_all_over(count)

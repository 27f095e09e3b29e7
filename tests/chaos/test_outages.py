"""Postgres and the broker killed and started again under load, a flipped byte on a disk, and a fail-over.

The long form is `make chaos`, for CHAOS_ROUNDS rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from chaos.faults import FLIPPED_TOPIC, Fault, FlippedByte, KillBroker, KillPostgres, ReadOnlySessions
from chaos.harness import Harness
from chaos.plan import ROUNDS, Strike, chances, new_seed
from chaos.scene import Scene
from chaos.workload import Workload, traffic_only

EVENTS = 200
# Some batches are behind, and some before it.
AFTER_PORTIONS = 4


async def survives(scene: Scene, tell: Callable[[str], None], faults: Sequence[Fault]) -> Harness:
    """What is told at the end has to hold after each: what one has broken may be mended by the next."""
    seed = new_seed()
    workload = traffic_only(chances(seed, "traffic"), len(faults), EVENTS)
    async with Harness(scene, seed, tell).running(members=1) as harness:
        for fault, section in zip(faults, workload.sections, strict=True):
            await harness.run([Strike(fault, AFTER_PORTIONS)], Workload([section]))
            await harness.check()
        await harness.end()
    harness.report.assert_all_over(len(faults))
    return harness


@pytest.mark.local_stack
@pytest.mark.xdist_group("own_stack")
async def test_postgres_and_the_broker_killed_under_load(own_scene: Scene, tell: Callable[[str], None]) -> None:
    harness = await survives(own_scene, tell, [KillPostgres(), KillBroker()])
    (service,) = harness.scene.members
    assert service.logged("ledger unavailable, batch waits")


@pytest.mark.local_stack
@pytest.mark.xdist_group("own_stack")
async def test_a_batch_with_a_flipped_byte_holds_its_partition_alone(
    own_scene: Scene, tell: Callable[[str], None]
) -> None:
    seed, oracle = new_seed(), own_scene.deployment.oracle()
    workload = traffic_only(chances(seed, "traffic"), sections=1, events=EVENTS)
    fault = FlippedByte()
    async with Harness(own_scene, seed, tell).running(members=1) as harness:
        async with harness.under(fault) as struck:
            await workload.send(own_scene)
            await oracle.drained(but=[FLIPPED_TOPIC])
        await harness.well(struck)
        observed = await harness.check()
        assert [(d["topic"], d["partition"], d["offset"]) for d in observed.dead_letters] == [fault.place]
        (service,) = own_scene.members
        assert service.logged("held partition is read again")
        await harness.end()
    harness.report.assert_all_over(1)


async def test_sessions_left_on_a_read_only_server(scene: Scene, tell: Callable[[str], None]) -> None:
    await survives(scene, tell, [ReadOnlySessions()])


@pytest.mark.chaos
@pytest.mark.local_stack
@pytest.mark.timeout(3600)
async def test_the_broker_killed_under_load_many_times(own_scene: Scene, tell: Callable[[str], None]) -> None:
    await survives(own_scene, tell, [KillBroker() for _ in range(ROUNDS)])

"""Foreign junk among random traffic while members, the relay, Postgres and the broker are killed in turn.

A run is repeated by its seed, CHAOS_SEED=seed, with as many messages, CHAOS_EVENTS=number.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.armed import POINTS_OF_THE_LEDGER, POINTS_OF_THE_RELAY
from chaos.faults import Fault, KillAtPoint, KillAtRandom, KillBroker, KillPostgres
from chaos.harness import Harness
from chaos.junk import FAULTS, TOO_LARGE, WHY, FlippedUntilSkipped, Mix, assert_only_junk_is_dead
from chaos.plan import Strike, chances, new_seed
from chaos.scene import Scene
from chaos.workload import Order, give
from support.foreign import kafka_python
from support.reconciled import reconcile

EVENTS = int(os.environ.get("CHAOS_EVENTS", "2000"))
MEMBERS = 2
# Of so many events, or fewer, each kill has its part.
EVENTS_A_ROUND = 20_000
BATCH_RECORDS_MAX = {"batch_records_max": "200"}


def strikes_of(rng: random.Random, flipped: FlippedUntilSkipped) -> list[Strike]:
    """Each kind of kill in turn, in rounds; the byte is flipped in one of them."""
    faults: list[Fault] = []
    for number in range(-(-EVENTS // EVENTS_A_ROUND)):
        round_of: list[Fault] = [
            KillAtRandom(rng.randrange(MEMBERS), rng.randint(1, 100)),
            KillAtPoint(rng.choice(POINTS_OF_THE_LEDGER), rng.randint(1, 3)),
            KillAtPoint(rng.choice(POINTS_OF_THE_RELAY), rng.randint(1, 3)),
            KillPostgres(),
            KillBroker(),
        ]
        round_of += [] if number else [flipped]
        faults += rng.sample(round_of, len(round_of))
    return [Strike(fault, rng.randint(0, 3), rng.uniform(0.0, 2.0)) for fault in faults]


@pytest.mark.chaos
@pytest.mark.local_stack
@pytest.mark.timeout(7200)
async def test_only_junk_is_a_dead_letter_whatever_is_killed(own_scene: Scene, tell: Callable[[str], None]) -> None:
    seed = new_seed()
    rng = chances(seed, "junk")
    flipped = FlippedUntilSkipped(f"flipped-{rng.getrandbits(32):x}")
    strikes = strikes_of(rng, flipped)
    mix = Mix(rng, EVENTS)
    workload = mix.workload(len(strikes))
    scene = replace(own_scene, faults=FAULTS, settings=own_scene.settings | BATCH_RECORDS_MAX)
    async with Harness(scene, seed, tell).running(members=MEMBERS) as harness:
        await harness.run(strikes, workload)
        await assert_ended(scene, mix, flipped, within_seconds=120 + EVENTS / 100)
        await harness.end()
    harness.report.assert_all_over(len(strikes))
    kafka_python.collect_sockets()


async def assert_ended(scene: Scene, mix: Mix, flipped: FlippedUntilSkipped, within_seconds: float) -> None:
    """Every promise holds before people end the dead letters, and after it."""
    deployment, oracle = scene.deployment, scene.deployment.oracle()
    await scene.well(within_seconds)
    observed = await oracle.check(within_seconds=within_seconds)
    assert_only_junk_is_dead(observed)
    flipped.assert_skipped(observed)
    with flipped.again(scene):
        waiting = await reconcile(deployment, first=FAULTS, within_seconds=within_seconds)
    assert waiting.exit_code == 1, waiting.said
    assert [one for one in waiting.findings if one["kind"] != "dead-letter-waiting"][:5] == [], waiting.summary

    await give(Order(("dead-letters", "retry", "--because", TOO_LARGE, *WHY)), scene, within_seconds)
    await give(Order(("dead-letters", "discard", "--all", *WHY)), scene, within_seconds)
    observed = await oracle.check(within_seconds=within_seconds)
    assert_only_junk_is_dead(observed)
    flipped.assert_skipped(observed)
    mix.assert_ended(observed)
    ends = {(row["reason"] == TOO_LARGE, row["status"]) for row in observed.dead_letters}
    assert ends == {(True, "resolved"), (False, "discarded")}
    # By the usual bounds, by which the batch that was taken apart can be read.
    with flipped.again(scene):
        agreed = await reconcile(deployment, within_seconds=within_seconds)
    assert (agreed.exit_code, agreed.findings[:5]) == (0, []), agreed.summary
    # What was skipped and can be read again is told, to be decided after all.
    readable = await reconcile(deployment, within_seconds=within_seconds)
    told = {(one["kind"], one["subject"]) for one in readable.findings}
    assert told == {("message-missing", place) for place in flipped.skipped}
    assert [await member.problems() | await member.degraded() for member in scene.members] == [{}] * MEMBERS

"""SIGTERM in the middle of the work: what is in hand is finished or given up, within the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle

from chaos.faults import AccountLock, Terminate
from chaos.harness import Harness
from chaos.plan import new_seed
from chaos.scene import Scene
from support.observed import Observed, observe_ledger
from support.patience import patience
from support.promises import violations
from support.traffic import random_traffic, slices
from support.wait import eventually

BUDGET_SECONDS = 6
# Python's own end, on a machine that does other things as well; the two are less than the 25 s that are usual.
MARGIN_SECONDS = patience(16)


async def test_under_load_what_was_decided_is_published_before_the_end(
    scene: Scene, tell: Callable[[str], None]
) -> None:
    scene.settings = {"shutdown_seconds": "80"}
    async with Harness(scene, new_seed(), tell).running(members=1) as harness:
        (service,) = scene.members
        async with scene.deployment.upstream() as upstream:
            await upstream.send(random_traffic(41, events=300))

            async def send_more() -> None:
                """For as long as it serves, and once more: so there is something that it leaves."""
                for part in cycle(slices(random_traffic(43, events=1_500), 20)):
                    serves = service.runs
                    await upstream.send(part)
                    if not serves:
                        return

            sending = asyncio.create_task(send_more())
            await eventually(lambda: len(service.logged("batch")) > 5)
            async with harness.under(Terminate(0, within_seconds=100)) as struck:
                await sending
                oracle = scene.deployment.oracle()

                async def seen_whole() -> Observed | None:
                    """A commit is acknowledged a moment before each partition hears of it."""
                    seen = await oracle.observe()
                    return None if seen.open_ends else seen

                after = await eventually(seen_whole, what="no transaction is open")
                assert after is not None
                left = sum(after.ends.values()) - sum(after.stored().values())
                assert left > 0
                stored = after.stored()
                committed = {place: at for place, at in after.committed.items() if at}
                assert committed == {place: at for place, at in stored.items() if at}
                assert [told for told in violations(after) if not told.startswith(("inputs:", "offsets:"))] == []
            await harness.well(struck)
        await harness.check()
        await harness.end()
    harness.report.assert_all_over(1)


async def test_a_batch_that_waits_for_the_database_is_given_up(scene: Scene, tell: Callable[[str], None]) -> None:
    scene.settings = {"shutdown_seconds": str(BUDGET_SECONDS)}
    async with Harness(scene, new_seed(), tell).running(members=1) as harness:
        async with harness.under(AccountLock()), harness.under(Terminate(0)) as ended:
            assert ended.injected is not None
            assert ended.injected - ended.began < BUDGET_SECONDS + MARGIN_SECONDS
            undecided = await observe_ledger(scene.deployment.database_url, scene.deployment.prefix)
        await harness.well(ended)
        observed = await harness.check()
        assert sum(observed.stored().values()) > sum(undecided.stored().values())
        await harness.end()
    harness.report.assert_all_over(2)

"""SIGTERM in the middle of the work: what is in hand is finished or given up, within the budget."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle

import asyncpg

from support.locks import waiting_for_a_lock
from support.observed import observe_ledger
from support.promises import violations
from support.service import Deployment
from support.traffic import random_traffic, slices
from support.wait import eventually

BUDGET_SECONDS = 6
# Python's own end, on a machine that does other things as well; the two are less than the 25 s that are usual.
MARGIN_SECONDS = 16


async def test_under_load_what_was_decided_is_published_before_the_end(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start(batch_records_max="20", shutdown_seconds="80")
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(41, events=600))

        async def send_more() -> None:
            """For as long as it serves, and once more: so there is something that it leaves."""
            for part in cycle(slices(random_traffic(43, events=1_500), 20)):
                serves = service.runs
                await upstream.send(part)
                if not serves:
                    return

        sending = asyncio.create_task(send_more())
        await eventually(lambda: len(service.logged("batch")) > 5)
        assert await service.terminate(within_seconds=100) == 0
        await sending
    after = await deployment.oracle().observe()
    left = sum(after.ends.values()) - sum(after.stored().values())
    assert left > 0
    stored = after.stored()
    assert {place: at for place, at in after.committed.items() if at} == {p: at for p, at in stored.items() if at}
    assert [told for told in violations(after) if not told.startswith(("inputs:", "offsets:"))] == []
    service = await deployment.start()
    await deployment.oracle().check()
    assert await service.terminate() == 0


async def test_a_batch_that_waits_for_the_database_is_given_up(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start(batch_records_max="20", shutdown_seconds=str(BUDGET_SECONDS))
    blocker = await asyncpg.connect(deployment.database_url)
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(47, events=200))
    await eventually(lambda: len(service.logged("batch")) > 1)
    async with blocker.transaction():
        await blocker.execute("SELECT FROM credits.accounts ORDER BY account_id FOR UPDATE")
        async with deployment.upstream() as upstream:
            await upstream.send(random_traffic(47, events=200))
        await eventually(lambda: waiting_for_a_lock(blocker), what="the batch waits")
        began = time.monotonic()
        assert await service.terminate() == 0
        assert time.monotonic() - began < BUDGET_SECONDS + MARGIN_SECONDS
    await blocker.close()
    undecided = await observe_ledger(deployment.database_url, deployment.prefix)
    service = await deployment.start()
    observed = await deployment.oracle().check()
    assert observed.dead_letters == []
    assert sum(observed.stored().values()) > sum(undecided.stored().values())
    assert await service.terminate() == 0

"""Incoming topics get more partitions in the way that the docs say: nothing is lost, misplaced or decided twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from credit_contracts import INCOMING_TOPICS
from support.reconciled import reconcile
from support.topics import add_partitions
from support.traffic import random_traffic

if TYPE_CHECKING:
    from support.service import Deployment

BEFORE, AFTER = 3, 5


async def test_all_topics_get_more_partitions_once_nothing_is_on_its_way(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=BEFORE)
    service = await deployment.start()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(61, events=300))
    await deployment.oracle().check()

    assert await service.terminate() == 0
    await add_partitions(deployment.kafka, [deployment.topic(name) for name in INCOMING_TOPICS], AFTER)
    service = await deployment.start()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(67, events=300))
    observed = await deployment.oracle().check()

    assert len(observed.stored()) == AFTER * len(INCOMING_TOPICS)
    assert any(offset for (_, number), offset in observed.stored().items() if number >= BEFORE)
    assert sum(line["misplaced"] for line in service.logged("batch")) == 0
    assert await service.terminate() == 0
    reconciled = await reconcile(deployment)
    assert reconciled.found == set(), reconciled.said

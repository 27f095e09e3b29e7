"""Incoming topics get more partitions in the way that the docs say: nothing is lost, misplaced or decided twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from credit_contracts import INCOMING_TOPICS
from support.reconciled import reconcile
from support.traffic import random_traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.service import Deployment

BEFORE, AFTER = 3, 5


async def give(deployment: Deployment, topics: Sequence[str], partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.kafka)
    await admin.start()
    try:
        await admin.create_partitions({deployment.topic(name): NewPartitions(partitions) for name in topics})
    finally:
        await admin.close()


async def test_all_topics_get_more_partitions_once_nothing_is_on_its_way(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=BEFORE)
    service = await deployment.start()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(61, events=300))
    await deployment.oracle().check()

    assert await service.terminate() == 0
    await give(deployment, INCOMING_TOPICS, AFTER)
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

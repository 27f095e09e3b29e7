"""A foreign client in the consumer group is reported, and messages of its partitions count as waiting."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from credit_contracts.incoming import PlanChanged
from credit_contracts.topics import INCOMING_TOPICS
from support.credits import run_credits
from support.replays import settings_of
from support.scraped import scraped
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.service import Deployment

AT = datetime.now(UTC) - timedelta(hours=1)
PARTITIONS = 3
ACCOUNTS = 40
LOOKS_OFTEN = (
    "from credit_service.kafka.access import monitor; monitor.ASK_EVERY_SECONDS = 0.3\n"
    "from credit_service.watch import watch; watch.LOOK_SECONDS_MAX = 0.3"
)


@asynccontextmanager
async def stranger(deployment: Deployment, client_id: str) -> AsyncIterator[Any]:
    """Joins the service's group and reads nothing."""
    consumer = AIOKafkaConsumer(
        *(deployment.topic(name) for name in INCOMING_TOPICS),
        bootstrap_servers=deployment.kafka,
        client_id=client_id,
        group_id=deployment.group,
        enable_auto_commit=False,
        partition_assignment_strategy=(RangePartitionAssignor,),
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def members_told(deployment: Deployment) -> dict[str, Any]:
    command, settings = ("doctor", "--output", "json"), settings_of(deployment)
    done = await asyncio.to_thread(run_credits, *command, folder=deployment.folder, **settings)
    (check,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "members")
    found: dict[str, Any] = check
    return found


@pytest.mark.slow
async def test_it_is_named_and_what_it_holds_counts_as_waiting(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    services = [await (await deployment.start(faults=LOOKS_OFTEN)).ready() for _ in range(2)]
    async with deployment.upstream() as upstream, stranger(deployment, "somebody-elses") as other:

        async def is_named() -> bool:
            told = [(await service.degraded()).get("group", "") for service in services]
            return all("client id somebody-elses on " in one for one in told)

        await eventually(is_named, within_seconds=60, what="it is named by both")
        held = {at.partition for at in other.assignment() if at.topic == deployment.topic("plan-changed")}
        assert held
        plans = [event(PlanChanged(account_id=f"a{n}", plan_id="p", monthly_credits=1), AT) for n in range(ACCOUNTS)]
        sent = await upstream.send(plans)
        waiting = sum(one.partition in held for one in sent)

        async def is_counted_once() -> bool:
            seen = [(await scraped(service)).value("lag_messages", topic="plan-changed") for service in services]
            return sorted(value or 0 for value in seen) == [0, waiting]

        await eventually(is_counted_once, what="what it holds back is part of the lag of one of ours")
        assert (await scraped(services[0])).value("degraded", part="group") == 1
        told = await members_told(deployment)
        assert told["state"] == "wrong"
        assert f"strangers in group {deployment.group} hold partitions: client id somebody-elses on " in told["told"]
        for service in services:
            await service.ready()

    async def is_well() -> bool:
        return not any([await service.degraded() for service in services])

    await eventually(is_well, within_seconds=60, what="all is well once it has gone")
    observed = await deployment.oracle().check()
    assert {one.event.id for one in sent} <= {decision["id"] for decision in observed.decisions}
    assert (await members_told(deployment))["told"] == f"2 in group {deployment.group}"
    for service in services:
        assert await service.terminate() == 0


async def test_one_of_ours_with_an_instance_behind_its_client_id_is_none(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    service = await (await deployment.start(faults=LOOKS_OFTEN)).ready()
    async with stranger(deployment, f"{deployment.group}-pod-1") as other:
        await eventually(other.assignment, what="it has partitions")

        async def are_shared() -> bool:
            told = await members_told(deployment)
            return bool(told["told"] == f"2 in group {deployment.group}")

        await eventually(are_shared, what="the doctor counts it as ours")
        assert "group" not in await service.degraded()
    assert await service.terminate() == 0

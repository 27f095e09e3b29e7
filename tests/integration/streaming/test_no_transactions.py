"""A broker without transactions, in which the service publishes, is reported in one line, and retried."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from credit_service.kafka.access.probe import inspect
from credit_service.kafka.connect.acls import publishing
from credit_service.kafka.connect.connection import KafkaConnection
from support.credits import run_credits
from support.kafka_proxy import kafka_proxy
from support.secured_service import says

if TYPE_CHECKING:
    from support.service import Deployment

# As the tier of a service that speaks Kafka's protocol without transactions answers.
HIDDEN = frozenset({24, 25, 26, 28})
TOLD = "has no transactions, in which this service publishes: it does not know AddOffsetsToTxn, EndTxn, TxnOffsetCommit"


async def test_it_is_told_and_the_service_goes_on_once_there_are_some(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    async with kafka_proxy(int(deployment.kafka.rpartition(":")[2]), HIDDEN) as door:
        service = await deployment.start(kafka_bootstrap_servers=door.address)
        told = f"Kafka at {door.address} {TOLD}"
        await says(service, told)
        done = await asyncio.to_thread(
            run_credits,
            *("doctor", "--output", "json"),
            folder=deployment.folder,
            database_url=deployment.database_url,
            kafka_bootstrap_servers=door.address,
            kafka_group_id=deployment.group,
            topic_prefix=deployment.prefix,
        )
        assert done.returncode == 1
        (access,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "access"]
        assert (access["state"], access["told"]) == ("wrong", told), access
        door.hidden = frozenset()
        await service.ready()
        assert [line["problem"] for line in service.logged("not ready") if line["part"] == "kafka"] == [told]
        assert await service.terminate() == 0


@pytest.mark.parametrize("key", [22, 25, 26, 28])
async def test_each_request_that_is_needed_is_missed(deployment: Deployment, key: int) -> None:
    async with kafka_proxy(int(deployment.kafka.rpartition(":")[2]), frozenset({key})) as door:
        connection = KafkaConnection(door.address, deployment.group, deployment.prefix)
        assert (await inspect(connection, publishing(connection))).lacking is not None
        assert (await inspect(connection, [])).lacking is None

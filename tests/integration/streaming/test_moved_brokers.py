"""All brokers' addresses change while the service runs: it finds them again by the settings' addresses."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from credit_contracts import PlanChanged
from credit_local_stack import Stack
from credit_service.runtime.log_repeats import SECONDS_BETWEEN
from support.kafka_proxy import kafka_proxy
from support.secured_service import ACCOUNT, generated, published
from support.service import Deployment
from support.stack import in_memory
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("moved-brokers"),
    pytest.mark.timeout(400),
    pytest.mark.local_stack,
]

WENT_ON = "no known broker answered, using those at the settings' addresses"
# Lines are given their time after it was decided whether they are written, by another clock.
AT_LEAST = timedelta(seconds=SECONDS_BETWEEN - 1)


@pytest.fixture
def kafka() -> Iterator[Stack]:
    with Stack(scratch=in_memory(), kafka_heap_mib=256, with_postgres=False) as stack:
        yield stack


async def test_the_service_goes_on_without_a_restart(
    database_url: str, kafka: Stack, topic_prefix: str, tmp_path: Path
) -> None:
    async with (
        kafka_proxy(kafka.kafka_port) as door,
        Deployment(database_url, kafka.bootstrap_servers, topic_prefix, tmp_path) as deployment,
    ):
        await deployment.make_topics(partitions=1)
        service = await (await deployment.start(kafka_bootstrap_servers=door.address)).ready()
        begun = datetime.now(UTC) - timedelta(hours=1)
        async with deployment.upstream() as upstream:
            await upstream.send([event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=100), begun)])
        await published(service, 1)
        before = kafka.kafka_port
        await asyncio.to_thread(kafka.move_kafka)
        assert kafka.kafka_port != before
        door.target, deployment.kafka = kafka.kafka_port, kafka.bootstrap_servers
        async with deployment.upstream() as upstream:
            await upstream.send([generated(number) for number in range(3)])
        await published(service, 4)
        await service.ready()
        lines = service.logged(WENT_ON)
        # Once for each client that runs: the member's and the relay's.
        assert sorted({line["client"] for line in lines}) == sorted(line["client"] for line in lines)
        assert {line["brokers"] for line in lines} == {kafka.bootstrap_servers}
        assert len(service.logged("serving")) == 1
        assert f"not connected to broker 1: ConnectionRefusedError at 127.0.0.1:{before}" in service.said()
        # What is said over and over while no broker answers is said once in ten seconds.
        told_at = defaultdict[str, list[datetime]](list)
        for line in service.lines():
            if any(said in line["event"] for said in ("did not answer a fetch", "not connected to broker")):
                told_at[line["event"]].append(datetime.fromisoformat(line["timestamp"]))
        assert [gap for at in told_at.values() for gap in pairwise(at) if gap[1] - gap[0] < AT_LEAST] == []
        assert await service.terminate() == 0

"""A topic that is deleted and made anew: it is read from its beginning, however long it is, and that it is another one
is recorded.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_service.kafka.access.topic_ids import topic_ids
from credit_service.kafka.connect.connection import KafkaConnection
from support.credits import run_credits
from support.reconciled import reconcile
from support.replays import WHY, replay, settings_of
from support.topics import make_topic, remove_topics
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.service import Deployment

AT = datetime.now(UTC) - timedelta(hours=1)
PARTITIONS = 3
OLD, SHORTER, LONGER = 20, 5, 50
ASKS_OFTEN = (
    "from credit_service.kafka.access import monitor; monitor.ASK_EVERY_SECONDS = 0.3\n"
    "from credit_service.kafka.consume import subscriber; subscriber.METADATA_MS_MAX = 500"
)
ANEW = "the topic was created again, reading it from its beginning, messages of the old one may be missing"


def plan(account: str) -> Event[IncomingData]:
    return event(PlanChanged(account_id=account, plan_id="p", monthly_credits=1_000), AT - timedelta(days=1))


def generated(account: str, count: int, name: str) -> list[Event[IncomingData]]:
    return [event(ProspectGenerated(account_id=account, prospect_id=f"{name}-{n}"), AT) for n in range(count)]


async def make_anew(deployment: Deployment, name: str) -> None:
    connection = KafkaConnection(deployment.kafka, deployment.group, deployment.prefix)

    async def id_of() -> Any:
        return (await topic_ids(connection, [name])).get(name)

    old = await id_of()
    await remove_topics(deployment.kafka, [name])
    await make_topic(deployment.kafka, name, partitions=PARTITIONS)

    async def is_told() -> bool:
        return await id_of() not in (None, old)

    await eventually(is_told, what="the broker tells of the new one")


async def offsets_told(deployment: Deployment) -> dict[str, Any]:
    """What the doctor says of the stored offsets and of gaps."""
    settings = settings_of(deployment)
    command = ("doctor", "--output", "json")
    done = await asyncio.to_thread(run_credits, *command, folder=deployment.folder, **settings)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.mark.parametrize("count", [SHORTER, LONGER])
async def test_one_that_was_made_anew_while_nobody_read(deployment: Deployment, count: int) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    name = deployment.topic("prospect-generated")
    service = await deployment.start()
    async with deployment.upstream() as upstream:
        before = await upstream.send([plan("a"), *generated("a", OLD, "old")])
    await deployment.oracle().check()
    assert await service.terminate() == 0
    number = before[-1].partition
    connection = await asyncpg.connect(deployment.database_url)
    try:
        # Of one partition nothing was ever stored.
        forget = 'DELETE FROM credits.partition_offsets WHERE topic = $1 AND "partition" = $2'
        await connection.execute(forget, name, (number + 1) % PARTITIONS)
        await make_anew(deployment, name)
        async with deployment.upstream() as upstream:
            sent = await upstream.send(generated("a", count, "new"))
        assert [at.offset for at in sent] == [*range(count)]

        told = (await offsets_told(deployment))["offsets"]
        assert (told["state"], f"{name}/{number} at {OLD}" in told["told"]) == ("wrong", True)
        reconciled = await reconcile(deployment)
        assert (reconciled.exit_code, reconciled.findings) == (2, [])
        assert f"{name}/{number}: the topic was recreated, and no service has read it" in str(reconciled.summary)
        # Nor does a replay take the place in the old one for how far the new one was read.
        replayed = await replay(deployment, "--topic", "prospect-generated", *WHY)
        assert "0 messages of 0 topics" in replayed.said

        service = await (await deployment.start()).ready()
        observed = await deployment.oracle().settled()
        assert {one.event.id for one in (*before, *sent)} <= {d["id"] for d in observed.decisions}
        ids = await connection.fetch("SELECT topic_id FROM credits.partition_offsets WHERE topic = $1", name)
        gaps = await connection.fetch("SELECT * FROM credits.offset_gaps ORDER BY expected_offset DESC")
    finally:
        await connection.close()
    (new_id,) = {row["topic_id"] for row in ids}
    gap, other = gaps
    assert (gap["topic"], gap["partition"]) == (name, number)
    assert (gap["expected_offset"], gap["resumed_offset"], gap["log_end_offset"]) == (OLD, 0, count)
    assert (other["partition"], other["expected_offset"]) == ((number + 2) % PARTITIONS, 0)
    assert gap["old_topic_id"] == other["old_topic_id"] not in (None, new_id)
    assert len(service.logged(ANEW)) == len(gaps)
    assert f"{name}/{number} from {OLD} to 0 of one made anew" in (await offsets_told(deployment))["gaps"]["told"]
    # What was decided from the old one does not lie in the new one, and that is as it should be.
    reconciled = await reconcile(deployment)
    assert (reconciled.exit_code, reconciled.findings) == (0, [])
    assert await service.terminate() == 0


@pytest.mark.parametrize("count", [SHORTER, LONGER])
async def test_one_that_is_made_anew_under_a_running_service(deployment: Deployment, count: int) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    name = deployment.topic("prospect-generated")
    service = await (await deployment.start(faults=ASKS_OFTEN)).ready()
    async with deployment.upstream() as upstream:
        before = await upstream.send([plan("a"), *generated("a", OLD, "old")])
        await deployment.oracle().drained()
    await make_anew(deployment, name)
    async with deployment.upstream() as upstream:
        sent = await upstream.send(generated("a", count, "new"))
        assert [at.offset for at in sent] == [*range(count)]
        connection = await asyncpg.connect(deployment.database_url)
        old_id = None
        try:

            async def are_decided() -> bool:
                ids = {row["id"] for row in await connection.fetch("SELECT id FROM credits.decisions_by_account")}
                return {one.event.id for one in (*before, *sent)} <= ids

            await eventually(are_decided, within_seconds=60, what="all of both is decided")

            async def is_recorded() -> bool:
                gaps = await connection.fetch(
                    "SELECT expected_offset, old_topic_id FROM credits.offset_gaps"
                    ' WHERE topic = $1 AND "partition" = $2 AND old_topic_id IS NOT NULL',
                    name,
                    before[-1].partition,
                )
                nonlocal old_id
                old_id = gaps[0]["old_topic_id"] if gaps else None
                return len(gaps) == 1 and gaps[0]["expected_offset"] >= OLD

            await eventually(is_recorded, what="and that there were two")
            # Each partition is opened by itself: the last of them later than the one that was asked about.
            others = "SELECT true FROM credits.partition_offsets WHERE topic = $1 AND topic_id = $2"

            async def are_all_of_the_new_one() -> bool:
                return await connection.fetchval(others, name, old_id) is None

            await eventually(are_all_of_the_new_one, what="no stored offset counts in the old one")
        finally:
            await connection.close()
    await service.ready()
    assert (await reconcile(deployment)).exit_code == 0
    assert await service.terminate() == 0

"""A process that is killed and started again at once has its partitions long before its old session has run out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from credit_contracts.incoming import PlanChanged
from credit_local_stack import Stack
from support.examined import doctor
from support.service import Deployment
from support.stack import in_memory
from support.topics import admin
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

AT = datetime.now(UTC) - timedelta(hours=1)
PARTITIONS = 3
NAME = "pod-1"
TAKEN_OUT = "a predecessor of this name was taken out of the group"
NOT_TAKEN_OUT = "a predecessor could not be taken out of the group, it may stay until its session has run out"
# Kafka's own default; the stack of the tests does not wait.
REBALANCE_DELAY_MS = 3_000
SESSION_SECONDS = 900
LOOKS_OFTEN = "from credit_service.kafka.access import monitor; monitor.ASK_EVERY_SECONDS = 0.3\n"
# Far longer than any wait of a test: who has partitions before has them in another way.
LONG_SESSIONS = (
    f"from credit_service.kafka.consume import subscriber; subscriber.SESSION_TIMEOUT_MS = {SESSION_SECONDS}_000\n"
)
WITHIN_SECONDS = 60
GONE_BY_ITSELF = """
from credit_service.kafka.consume.predecessor import Predecessors
leave = Predecessors._leave
async def left_before(self, coordinator, member_id):
    await leave(self, coordinator, member_id)
    await leave(self, coordinator, member_id)
Predecessors._leave = left_before
"""
# A broker takes nobody out of a group without a name, and says so.
REFUSED = """
from credit_service.kafka.consume import predecessor
request = predecessor.LeaveGroupRequest
predecessor.LeaveGroupRequest = lambda group, member_id: request("", member_id)
"""


@pytest.fixture(scope="module")
def delaying() -> Iterator[str]:
    """A broker as Kafka ships it: a group that was empty waits for more members."""
    with Stack(
        scratch=in_memory(), kafka_heap_mib=256, kafka_rebalance_delay_ms=REBALANCE_DELAY_MS, with_postgres=False
    ) as stack:
        yield stack.bootstrap_servers


@pytest.fixture
async def delayed(database_url: str, delaying: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with Deployment(database_url, delaying, topic_prefix, tmp_path) as deployment:
        yield deployment


async def client_ids(deployment: Deployment) -> list[str]:
    """Of the members that the group has now."""
    async with admin(deployment.kafka) as client:
        (answer,) = await client.describe_consumer_groups([deployment.group])
    return sorted(member[1] for _, _, _, _, _, members, *_ in answer.groups for member in members)


async def decide_some(deployment: Deployment, *names: str) -> None:
    """Events of all partitions, sent and decided."""
    async with deployment.upstream() as upstream:
        accounts = [f"{name}-{number}" for name in names for number in range(20)]
        await upstream.send([event(PlanChanged(account_id=a, plan_id="p", monthly_credits=1), AT) for a in accounts])
    await deployment.oracle().check()


async def killed_and_started(deployment: Deployment, **settings: Any) -> Any:
    """A service that has taken the place of one that was killed, at the latest when the test has waited enough."""
    await deployment.make_topics(partitions=PARTITIONS)
    first = await (await deployment.start(**settings)).ready()
    await decide_some(deployment, "before")
    await first.kill()
    second = await deployment.start(**settings)
    await second.ready(WITHIN_SECONDS)
    await decide_some(deployment, "after")
    return second


async def test_a_killed_one_is_out_of_the_group_before_its_session_could_have_run_out(deployment: Deployment) -> None:
    service = await killed_and_started(deployment, instance_id=NAME, faults=LONG_SESSIONS)
    assert len(service.logged(TAKEN_OUT)) == 1
    assert await client_ids(deployment) == [f"{deployment.group}-{NAME}"]
    assert await service.terminate() == 0


@pytest.mark.slow
@pytest.mark.local_stack
async def test_so_it_is_where_an_empty_group_waits_for_more_members(delayed: Deployment) -> None:
    service = await killed_and_started(delayed, instance_id=NAME, faults=LONG_SESSIONS)
    assert len(service.logged(TAKEN_OUT)) == 1
    assert await client_ids(delayed) == [f"{delayed.group}-{NAME}"]
    assert await service.terminate() == 0


async def test_others_of_the_group_stay_in_it(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    other = await (await deployment.start(instance_id="pod-2", faults=LONG_SESSIONS)).ready()
    killed = await (await deployment.start(instance_id=NAME, faults=LONG_SESSIONS)).ready()
    await killed.kill()
    service = await (await deployment.start(instance_id=NAME, faults=LONG_SESSIONS)).ready(WITHIN_SECONDS)
    await other.ready(WITHIN_SECONDS)
    await decide_some(deployment, "after")
    assert len(service.logged(TAKEN_OUT)) == 1
    assert await client_ids(deployment) == [f"{deployment.group}-{name}" for name in (NAME, "pod-2")]
    for one in (other, service):
        assert await one.terminate() == 0


async def test_two_living_processes_of_one_name_both_work_and_are_told_of(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    first = await (await deployment.start(instance_id=NAME, faults=LOOKS_OFTEN)).ready()
    second = await (await deployment.start(instance_id=NAME, faults=LOOKS_OFTEN)).ready()
    words = f"2 members have the client id {deployment.group}-{NAME}, on "

    async def are_told_of() -> bool:
        return all([words in (await one.degraded()).get("twins", "") for one in (first, second)])

    await eventually(are_told_of, within_seconds=60, what="both tell of it")
    await decide_some(deployment, "both")
    told = (await doctor(deployment)).checks["members"]
    assert told["state"] == "warning"
    assert (
        told["told"] == f"several members in group {deployment.group} have one client id: {deployment.group}-{NAME} 2"
    )
    for one in (first, second):
        await one.ready()
    # Whoever was thrown out has joined again, and has thrown out nobody.
    assert (len(first.logged(TAKEN_OUT)), len(second.logged(TAKEN_OUT))) == (0, 1)
    assert len(first.logged("several processes have one name")) == 1
    assert await second.terminate() == 0

    async def is_well() -> bool:
        return not await first.degraded()

    await eventually(is_well, within_seconds=60, what="all is well once one of them has gone")
    assert await first.terminate() == 0


async def test_a_predecessor_that_is_gone_by_itself_is_no_fault(deployment: Deployment) -> None:
    service = await killed_and_started(deployment, instance_id=NAME, faults=LONG_SESSIONS + GONE_BY_ITSELF)
    assert service.logged(NOT_TAKEN_OUT) == []
    assert await service.terminate() == 0


async def test_where_the_broker_refuses_it_the_session_runs_out_as_ever(deployment: Deployment) -> None:
    service = await killed_and_started(deployment, instance_id=NAME, faults=REFUSED)
    assert [line["cause"] for line in service.logged(NOT_TAKEN_OUT)] == ["InvalidGroupIdError"]
    assert await client_ids(deployment) == [f"{deployment.group}-{NAME}"]
    assert await service.terminate() == 0


async def test_without_a_name_the_session_runs_out_as_ever(deployment: Deployment) -> None:
    service = await killed_and_started(deployment)
    assert service.logged(TAKEN_OUT) == service.logged(NOT_TAKEN_OUT) == []
    assert await client_ids(deployment) == [deployment.group]
    assert await service.terminate() == 0


async def test_one_that_is_stopped_leaves_the_group_to_others_and_the_last_one_to_its_next_start(
    deployment: Deployment,
) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    first = await (await deployment.start(instance_id=NAME, faults=LONG_SESSIONS)).ready()
    other = await (await deployment.start(instance_id="pod-2", faults=LONG_SESSIONS)).ready()
    assert await other.terminate() == 0
    assert await client_ids(deployment) == [f"{deployment.group}-{NAME}"]
    await first.ready(WITHIN_SECONDS)
    assert await first.terminate() == 0
    # So the group is not empty, and does not wait for more members when the next one comes.
    assert await client_ids(deployment) == [f"{deployment.group}-{NAME}"]
    next_one = await (await deployment.start(instance_id=NAME, faults=LONG_SESSIONS)).ready(WITHIN_SECONDS)
    await decide_some(deployment, "after")
    assert len(next_one.logged(TAKEN_OUT)) == 1
    assert await client_ids(deployment) == [f"{deployment.group}-{NAME}"]
    assert await next_one.terminate() == 0


async def test_one_without_a_name_leaves_the_group_also_if_it_is_the_last(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=PARTITIONS)
    service = await (await deployment.start(faults=LONG_SESSIONS)).ready()
    assert await service.terminate() == 0
    assert await client_ids(deployment) == []

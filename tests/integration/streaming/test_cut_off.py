"""A member whose Kafka client has lost the group, and does not know it, joins again by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from credit_contracts import PlanChanged, ProspectGenerated
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from support.service import Deployment

AT = datetime.now(UTC) - timedelta(minutes=2)

# As when a task of the client has died: from its second commit on the coordinator hears no more of the first consumer,
# which is still fed with records. The second one has the limits of every day.
UNHEARD = """
import asyncio
from aiokafka.consumer.group_coordinator import GroupCoordinator
from credit_service.kafka.consume import group_offsets
from credit_service.kafka.consume import member
from credit_service.kafka.consume import subscriber
from credit_service.kafka.access import monitor

limits = member.CUT_OFF_SECONDS, group_offsets.COMMIT_SECONDS_MAX
member.CUT_OFF_SECONDS, group_offsets.COMMIT_SECONDS_MAX = 2, 0.5
monitor.ASK_EVERY_SECONDS = subscriber.STOP_SECONDS_MAX = 1
group_offsets.COMMIT_AGAIN_SECONDS = 0.5
seen, sent = [], GroupCoordinator._send_req

async def send(coordinator, request):
    first = seen[0][0] if seen else coordinator
    if coordinator is first:
        seen.append((first, type(request).__name__))
        if sum(name.startswith("OffsetCommit") for _, name in seen) > 1:
            await asyncio.Event().wait()
    else:
        member.CUT_OFF_SECONDS, group_offsets.COMMIT_SECONDS_MAX = limits
    return await sent(coordinator, request)

GroupCoordinator._send_req = send
"""


async def test_it_leaves_and_joins_again(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await (await deployment.start(faults=UNHEARD)).ready()
    async with deployment.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=50), AT)])
        await eventually(lambda: service.logged("Kafka's offsets were not committed, the ledger's are valid"))
        # What is read is decided all the same, and by nobody else.
        await upstream.send([event(ProspectGenerated(account_id="a", prospect_id="p"), AT)])
        await eventually(lambda: sum(batch["events"] for batch in service.logged("batch")) > 1)
        (left,) = cast("list[Any]", await eventually(lambda: service.logged("left the group"), within_seconds=60))
        assert left["cause"] == "the group's coordinator answers, but accepts no commit of this member"
        await eventually(lambda: service.logged("joined the group again"), within_seconds=60)
        await upstream.send([event(ProspectGenerated(account_id="a", prospect_id="q"), AT)])
    observed = await deployment.oracle().check()
    assert [account["balance"] for account in observed.accounts] == [48]
    await service.ready()
    assert await service.terminate() == 0

"""A small deployment: two accounts with a plan and a charge each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from credit_contracts import Event, IncomingData, PlanChanged, ProspectGenerated
from support.traffic import event
from support.worked_off import work_off

if TYPE_CHECKING:
    from support.service import Deployment

BEGAN = datetime.now(UTC) - timedelta(days=1)
_minutes = count(1)


def plan(account_id: str) -> Event[IncomingData]:
    return event(PlanChanged(account_id=account_id, plan_id="p", monthly_credits=10), BEGAN)


def generated(account_id: str, prospect_id: str, event_id: str | None = None) -> Event[IncomingData]:
    """Each a minute after the one before."""
    data = ProspectGenerated(account_id=account_id, prospect_id=prospect_id)
    return event(data, BEGAN + timedelta(minutes=next(_minutes)), event_id)


async def fill(deployment: Deployment, *, partitions: int = 1) -> None:
    """All of it decided and published."""
    await deployment.make_topics(partitions=partitions)
    async with deployment.upstream() as upstream:
        await upstream.send([plan("acme"), plan("bolt"), generated("acme", "ann"), generated("bolt", "bob")])
    await work_off(deployment)

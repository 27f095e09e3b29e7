"""In what order a backlog is decided, and what it refuses: as it would have been live, whatever a time says."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from credit_contracts.incoming import CreditsPurchased, PlanChanged, ProspectGenerated
from credit_contracts.topics import INCOMING_TOPICS
from support.clock import Clock
from support.topics import set_topic
from support.traffic import event

if TYPE_CHECKING:
    from support.service import Deployment

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TIMESTAMPS = ["LogAppendTime", "CreateTime"]


async def with_topics(deployment: Deployment, timestamps: str) -> None:
    await deployment.make_topics(partitions=1)
    for name in INCOMING_TOPICS:
        await set_topic(deployment.kafka, deployment.topic(name), {"message.timestamp.type": timestamps})


@pytest.mark.parametrize("timestamps", TIMESTAMPS)
async def test_a_time_of_years_ahead_holds_back_nothing_behind_it(deployment: Deployment, timestamps: str) -> None:
    """Found: 5 of 50 charged, since the credits that were bought came after all of them."""
    await with_topics(deployment, timestamps)
    began = datetime.now(UTC).replace(microsecond=0) - 2 * HOUR
    async with deployment.upstream() as upstream:
        ahead = CreditsPurchased(account_id="acme", purchase_id="far", credits=1)
        bought = CreditsPurchased(account_id="acme", purchase_id="near", credits=100)
        await upstream.send([event(ahead, began.replace(year=2099)), event(bought, began)])
        await upstream.send([event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=5), began - HOUR)])
        charges = [ProspectGenerated(account_id="acme", prospect_id=f"p{n}") for n in range(50)]
        await upstream.send([event(one, began + HOUR + n * MINUTE) for n, one in enumerate(charges)])
    service = await deployment.start()
    observed = await deployment.oracle().check()
    assert await service.terminate() == 0

    assert Counter(d["outcome"] for d in observed.decisions if d["prospect_id"]) == {"charged": 50}
    assert [letter["reason"] for letter in observed.dead_letters] == ["from-the-future"]


@pytest.mark.parametrize(("timestamps", "is_refused"), [("LogAppendTime", True), ("CreateTime", False)])
async def test_a_backlog_refuses_what_live_would_have_refused(
    deployment: Deployment, timestamps: str, is_refused: bool
) -> None:
    """Where the broker says when a message came; else it is not known, and the database's clock alone counts."""
    await with_topics(deployment, timestamps)
    now = datetime.now(UTC).replace(microsecond=0)
    async with deployment.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=5), now - HOUR)])
        await upstream.send([event(ProspectGenerated(account_id="acme", prospect_id="early"), now + 4 * MINUTE)])
        await upstream.send([event(ProspectGenerated(account_id="acme", prospect_id="ahead"), now + 10 * MINUTE)])
    async with Clock.replacing(deployment.database_url, now + HOUR):
        service = await deployment.start()
        observed = await deployment.oracle().check()
        assert await service.terminate() == 0

    refused = ["from-the-future"] if is_refused else []
    assert [letter["reason"] for letter in observed.dead_letters] == refused
    charged = {d["prospect_id"] for d in observed.decisions if d["outcome"] == "charged"}
    assert charged == ({"early"} if is_refused else {"early", "ahead"})

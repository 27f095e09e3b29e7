"""A topic that brings nothing but unreadable messages is left alone until somebody says otherwise."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx

from credit_contracts.incoming import EmailBounced, PlanChanged, ProspectGenerated
from support.credits import run_credits
from support.replays import settings_of
from support.service import Deployment, ServiceProcess
from support.traffic import Upstream, event
from support.wait import eventually

IN_A_ROW_MAX = 50
MORE = 20


async def send_unreadable(upstream: Upstream, count: int) -> None:
    await asyncio.gather(*(upstream.send_raw("email-bounced", b"not json") for _ in range(count)))


async def resume(deployment: Deployment, topic: str) -> int:
    done = await asyncio.to_thread(run_credits, "resume", topic, folder=deployment.folder, **settings_of(deployment))
    return done.returncode


async def says_paused(service: ServiceProcess) -> bool:
    return "email-bounced" in (await service.degraded()).get("topics", "")


async def test_unreadable_messages_in_a_row_pause_their_topic_alone(deployment: Deployment) -> None:
    await deployment.make_topics()
    at = datetime.now(UTC) - timedelta(hours=1)
    service = await deployment.start(unreadable_in_a_row_max=str(IN_A_ROW_MAX))
    oracle = deployment.oracle()
    async with deployment.upstream() as upstream:
        await upstream.send(
            [
                event(PlanChanged(account_id="a", plan_id="p", monthly_credits=5), at),
                event(ProspectGenerated(account_id="a", prospect_id="p"), at),
            ]
        )
        await send_unreadable(upstream, IN_A_ROW_MAX - 1)
        await oracle.drained()
        await service.ready()

        # One more makes it that many; what comes after is not touched.
        await send_unreadable(upstream, 1)
        await eventually(lambda: says_paused(service), what="paused, and said so")
        await send_unreadable(upstream, MORE)
        await upstream.send([event(EmailBounced(account_id="a", prospect_id="p"), at + timedelta(minutes=1))])
        await upstream.send([event(ProspectGenerated(account_id="a", prospect_id="q"), at + timedelta(minutes=2))])
        observed = await oracle.check(but=["email-bounced"])
        assert [e["reason"] for e in observed.entries] == ["plan_change", "charge", "charge"]
        assert len(observed.dead_letters) == IN_A_ROW_MAX
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{service.health_port}/livez")).status_code == 200

        # Another member leaves it alone as well, from its start.
        await deployment.killed(service)
        service = await deployment.start(unreadable_in_a_row_max=str(IN_A_ROW_MAX))
        await eventually(lambda: says_paused(service), what="the next one says it too")
        await upstream.send([event(ProspectGenerated(account_id="a", prospect_id="r"), at + timedelta(minutes=3))])
        observed = await oracle.check(but=["email-bounced"])
        assert len(observed.dead_letters) == IN_A_ROW_MAX

    assert await resume(deployment, "email-bounced") == 0
    observed = await oracle.check()
    assert len(observed.dead_letters) == IN_A_ROW_MAX + MORE
    assert [e["reason"] for e in observed.entries] == ["plan_change", "charge", "charge", "charge", "refund"]
    await service.ready()
    assert await service.terminate() == 0

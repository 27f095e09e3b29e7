"""A topic with nothing but unreadable messages is paused until an operator resumes it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from credit_contracts import IncomingData
from credit_contracts.envelope import Event
from credit_contracts.incoming import EmailBounced, PlanChanged, ProspectGenerated
from support.credits import run_credits
from support.replays import settings_of
from support.service import Deployment, ServiceProcess
from support.small_bounds import as_faults
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


def refused(reason: str, number: int) -> Event[IncomingData]:
    """An event that the rules refuse, of an account with a plan."""
    now = datetime.now(UTC)
    data = EmailBounced(account_id="a", prospect_id=f"p{number}")
    match reason:
        case "from-the-future":
            return event(data, now + timedelta(days=1))
        case "before-1970":
            return event(data, datetime(1969, 12, 31, tzinfo=UTC))
        case "reserved-source":
            return Event("/credit-service", f"e{number}", "email-bounced", now, data)
        case _:
            # The first of them is decided, and each that follows has other content.
            return event(data, now - timedelta(minutes=5), "the same id")


async def paused(deployment: Deployment) -> list[tuple[str, str]]:
    session = await asyncpg.connect(deployment.database_url)
    try:
        rows = await session.fetch("SELECT topic, reason FROM credits.paused_topics ORDER BY topic")
    finally:
        await session.close()
    return [(row["topic"].removeprefix(deployment.prefix), row["reason"]) for row in rows]


async def send_plan(upstream: Upstream) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=5), at)])


async def told_by(deployment: Deployment, *arguments: str) -> str:
    done = await asyncio.to_thread(run_credits, *arguments, folder=deployment.folder, **settings_of(deployment))
    return done.stdout


@pytest.mark.parametrize("reason", ["from-the-future", "before-1970", "reserved-source", "conflict"])
async def test_refused_messages_in_a_row_pause_their_topic(deployment: Deployment, reason: str) -> None:
    await deployment.make_topics()
    service = await deployment.start(unreadable_in_a_row_max=str(IN_A_ROW_MAX))
    oracle = deployment.oracle()
    async with deployment.upstream() as upstream:
        await send_plan(upstream)
        before = 1 if reason == "conflict" else 0
        await upstream.send([refused(reason, n) for n in range(IN_A_ROW_MAX - 1 + before)])
        await oracle.drained()
        await service.ready()
        assert await service.degraded() == {}
        await upstream.send([refused(reason, IN_A_ROW_MAX)])
        await eventually(lambda: says_paused(service), what="paused, and said so")
        await upstream.send([refused(reason, IN_A_ROW_MAX + n) for n in range(1, MORE)])
        observed = await oracle.settled(but=["email-bounced"])
    assert len(observed.dead_letters) == IN_A_ROW_MAX
    assert {letter["reason"] for letter in observed.dead_letters} == {reason}
    why = f"{IN_A_ROW_MAX} messages in a row are unreadable or refused, the last one: {reason}"
    assert await paused(deployment) == [("email-bounced", why)]
    checks = json.loads(await told_by(deployment, "doctor", "--output", "json"))["checks"]
    (found,) = [check["told"] for check in checks if check["name"] == "paused"]
    assert found == f"email-bounced ({why})"
    (said,) = service.logged("topic paused")
    assert said["reason"] == why


async def test_a_flood_between_good_messages_pauses_its_topic(deployment: Deployment) -> None:
    """Nine in ten of the last twenty, at a tiny bound; no run of them comes near the other one."""
    await deployment.make_topics()
    service = await deployment.start(faults=as_faults(JUDGED_MESSAGES=20, BAD_OF_JUDGED_MAX=18))
    oracle = deployment.oracle()
    at = datetime.now(UTC) - timedelta(minutes=5)
    async with deployment.upstream() as upstream:
        await send_plan(upstream)
        good = [event(EmailBounced(account_id="a", prospect_id=f"good{n}"), at) for n in range(2)]
        bad = [refused("reserved-source", n) for n in range(30)]
        await upstream.send([good[0], *bad[:9], good[1], *bad[9:17]])
        await oracle.drained()
        assert await paused(deployment) == []
        await upstream.send(bad[17:18])
        await eventually(lambda: says_paused(service), what="paused, and said so")
        await upstream.send(bad[18:])
        observed = await oracle.settled(but=["email-bounced"])
    assert len(observed.dead_letters) == 18
    why = "18 of the last 20 messages are unreadable or refused, the last one: reserved-source"
    assert await paused(deployment) == [("email-bounced", why)]


async def test_retries_and_replays_pause_nothing(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start(unreadable_in_a_row_max="3")
    oracle = deployment.oracle()
    at = datetime.now(UTC) - timedelta(minutes=5)
    async with deployment.upstream() as upstream:
        await send_plan(upstream)
        for n in range(3):
            good = event(EmailBounced(account_id="a", prospect_id=f"good{n}"), at)
            await upstream.send([refused("reserved-source", 2 * n), refused("reserved-source", 2 * n + 1), good])
        await oracle.drained()
        why = ("--reason", "a test", "--operator", "lee", "--yes")
        told = await told_by(deployment, "dead-letters", "retry", "--all", *why)
        assert "reserved-source" in told
        await told_by(deployment, "replay", *why)
        # Whoever decides goes on from where it was: two more in a row, and no third.
        await upstream.send([refused("reserved-source", 100 + n) for n in range(2)])
        observed = await oracle.check()
    assert len(observed.dead_letters) == 8
    assert await paused(deployment) == []
    assert await service.degraded() == {}

"""The intake waits for missing servers and topics, uses the database's clock for timers, and bounds its buffers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from credit_contracts.envelope import encode_structured
from credit_contracts.incoming import PlanChanged, ProspectExported, ProspectGenerated
from credit_local_stack.ports import free_port
from credit_service.postgres.migrate import migrate
from support.observed import INCOMING
from support.service import Deployment, ServiceProcess
from support.topics import add_partitions, make_topic, remove_topics
from support.traffic import event
from support.wait import eventually

MIB = 1024 * 1024
NOW = datetime.now(UTC)


async def says(service: ServiceProcess, *words: str) -> bool:
    problems = " ".join((await service.problems()).values())
    return all(word in problems for word in words)


async def test_what_is_missing_at_the_start_is_said_and_waited_for(deployment: Deployment) -> None:
    """No database, then one without a schema, then no topics, then uneven ones."""
    admin_url = deployment.database_url
    name = f"{urlsplit(admin_url).path[1:]}_late"
    deployment.database_url = urlsplit(admin_url)._replace(path=f"/{name}").geturl()
    connection = await asyncpg.connect(admin_url)
    service = await deployment.start()
    try:
        await eventually(lambda: says(service, "there is no database of this name"))
        await connection.execute(f"CREATE DATABASE {name}")
        await eventually(lambda: says(service, "credits migrate"))
        await asyncio.to_thread(migrate, deployment.database_url)
        await eventually(lambda: says(service, "topics are missing", "credits topics create"))
        # Never all of them: who has joined hears of uneven ones with Kafka's next metadata only.
        await deployment.make_topics(but=["email-bounced"])
        await eventually(lambda: says(service, f"topics are missing: {deployment.topic('email-bounced')};"))
        await make_topic(deployment.kafka, deployment.topic("email-bounced"), partitions=2)
        await eventually(lambda: says(service, "unequal partition counts"))
        await remove_topics(deployment.kafka, [deployment.topic("email-bounced")])
        await make_topic(deployment.kafka, deployment.topic("email-bounced"), partitions=3)
        await service.ready()
        async with deployment.upstream() as upstream:
            await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=5), NOW)])
        await deployment.oracle().check()
        assert await service.terminate() == 0
    finally:
        for process in deployment.processes:
            await process.kill()
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()
        deployment.database_url = admin_url
    assert "Traceback" not in service.said()


async def test_a_broker_that_is_away_at_the_start_is_said(deployment: Deployment) -> None:
    service = await deployment.start(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    await eventually(lambda: says(service, "Kafka"), within_seconds=40)
    assert await service.terminate() == 0
    assert "Traceback" not in service.said()


async def test_a_period_ends_by_itself_and_structured_events_are_read(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start()
    plan = event(PlanChanged(account_id="a", plan_id="p", monthly_credits=5), NOW - timedelta(days=28))
    export = event(ProspectExported(account_id="a", prospect_id="p"), NOW - timedelta(days=27))
    async with deployment.upstream() as upstream:
        for one in (plan, export):
            record = encode_structured(one)
            await upstream.send_raw(one.type, record.value, record.headers, key=record.key)
    oracle = deployment.oracle()
    await oracle.check()
    connection = await asyncpg.connect(deployment.database_url)
    await connection.execute("""CREATE OR REPLACE FUNCTION credits.ledger_now() RETURNS timestamptz LANGUAGE sql
        STABLE PARALLEL SAFE RETURN clock_timestamp() + interval '40 days'""")
    await eventually(lambda: connection.fetchval("SELECT count(*) FROM credits.decisions WHERE type = 'renewal'"))
    await connection.close()
    observed = await oracle.check()
    assert [(e["reason"], e["amount"]) for e in observed.entries][:4] == [
        ("plan_change", 5),
        ("charge", -1),
        ("lapse", -4),
        ("renewal", 5),
    ]
    assert await service.terminate() == 0


@pytest.mark.footprint
async def test_a_backlog_is_not_read_into_memory(deployment: Deployment) -> None:
    """The database holds it up, and what has been read ahead stays bounded."""
    await deployment.make_topics()
    blocker = await asyncpg.connect(deployment.database_url)
    async with deployment.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=5), NOW)])
        service = await deployment.start()
        oracle = deployment.oracle()
        await oracle.check()
        async with blocker.transaction():
            await blocker.execute("SELECT FROM credits.accounts FOR UPDATE")
            charges = [ProspectGenerated(account_id="a", prospect_id=f"{n}{'p' * 100}") for n in range(40_000)]
            await upstream.send([event(charge, NOW) for charge in charges])
            memory = psutil.Process(service.pid).memory_info().rss
            assert memory < 250 * MIB
    await blocker.close()
    observed = await oracle.check(within_seconds=90)
    assert max(batch["buffered"] for batch in service.logged("batch")) < 30_000
    assert len(observed.incoming) == 40_001
    assert await service.terminate() == 0


async def test_partitions_that_are_added_while_it_runs_are_read_after_a_restart(deployment: Deployment) -> None:
    """Until all topics have them it is not ready, and nothing of them is skipped."""
    await deployment.make_topics()
    service = await deployment.start()
    async with deployment.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="a", plan_id="p", monthly_credits=5), NOW)])
        await deployment.oracle().check()
    await add_partitions(deployment.kafka, [deployment.topic(name) for name in INCOMING], 4)
    async with deployment.upstream() as upstream:
        for partition in range(4):
            charge = ProspectGenerated(account_id="a", prospect_id=f"p{partition}")
            await upstream.send([event(charge, NOW, f"e{partition}")], partition=partition)
    assert await service.terminate() == 0
    service = await deployment.start()
    observed = await deployment.oracle().check()
    assert observed.accounts[0]["balance"] == 1
    assert await service.terminate() == 0

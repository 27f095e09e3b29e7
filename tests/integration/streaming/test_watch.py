"""A running service reports problems until they clear, stays alive meanwhile, and ends once it is stuck."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import httpx

from credit_contracts.envelope import encode
from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_service.postgres.ledger.outbox import LEADER_LOCK
from credit_service.postgres.migrate import newest_version
from support.clock import Clock
from support.foreign.batches import NO_TIMESTAMP, RawRecord, batch_of
from support.foreign.wire import append
from support.patience import patience
from support.scraped import scraped
from support.service import Deployment, ServiceProcess
from support.tokens import ALL, BEARER
from support.topics import expire_members
from support.traffic import Upstream, event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STUCK_SECONDS = 20
STUCK_SECONDS_LEAST = 10
LOOKS_OFTEN = "from credit_service.watch import watch; watch.LOOK_SECONDS_MAX = 0.3"
STANDS_BY = "no partitions are left, the other members have all"
# The loop's thread sleeps; the process lives, and its alarms ring.
STANDS_STILL = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))"
AT = datetime.now(UTC) - timedelta(minutes=2)
TOPIC = "prospect-generated"
PLAN = event(PlanChanged(account_id="a", plan_id="p", monthly_credits=50), AT)


async def generate(upstream: Upstream, *prospects: str) -> None:
    await upstream.send([event(ProspectGenerated(account_id="a", prospect_id=p), AT) for p in prospects])


async def shows(service: ServiceProcess, name: str, wanted: float | None, **labels: str) -> bool:
    return (await scraped(service)).value(name, **labels) == wanted


async def shows_more(service: ServiceProcess, name: str, than: float, **labels: str) -> bool:
    """False, too, while it is not known: what a look cannot count in time is left out until the next."""
    value = (await scraped(service)).value(name, **labels)
    return value is not None and value > than


async def says(service: ServiceProcess, part: str, words: str) -> bool:
    return words in (await service.problems()).get(part, "")


@asynccontextmanager
async def living(service: ServiceProcess) -> AsyncIterator[None]:
    """Asks `/livez` all the while: it never answers anything but 200."""

    async def ask() -> None:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{service.health_port}", timeout=patience(60)
        ) as client:
            while True:
                assert (await client.get("/livez")).status_code == 200
                await asyncio.sleep(0.2)

    asking = asyncio.create_task(ask())
    try:
        yield
        assert not asking.done(), asking.exception()
    finally:
        asking.cancel()


@asynccontextmanager
async def database_away(database_url: str) -> AsyncIterator[None]:
    """The database lets nobody in, and nobody is in any more."""
    url = urlsplit(database_url)
    connection = await asyncpg.connect(url._replace(path="/postgres").geturl())
    name = url.path[1:]
    try:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await connection.close()


async def test_what_is_wrong_is_said_until_it_is_mended_and_the_service_lives_on(deployment: Deployment) -> None:
    await deployment.make_topics()
    chosen = {"stuck_seconds_max": str(STUCK_SECONDS), "http_tokens": json.dumps([ALL.entry()])}
    service = await (await deployment.start(faults=LOOKS_OFTEN, **chosen)).ready()
    async with deployment.upstream() as upstream, living(service):
        await upstream.send([PLAN])
        await deployment.oracle().drained()
        await eventually(lambda: shows(service, "lag_messages", 0, topic=TOPIC))

        await readers_wait_for_each_other(deployment, service)
        await the_database_goes_away(deployment, service, upstream)
        await the_lock_of_an_account_is_held(deployment, service, upstream)
        await the_schema_is_too_old(deployment, service)
        await nobody_publishes(deployment, service, upstream)
        await partitions_are_lost(deployment, service, upstream)

    await deployment.oracle().drained()
    await eventually(lambda: has_no_lag(service))
    await eventually(lambda: shows(service, "ready", 1))
    await eventually(lambda: shows(service, "published_events_total", 6, topic="balance-changed"))
    await eventually(lambda: shows(service, "charges_total", 5))
    await eventually(lambda: shows_more(service, "batch_retries_total", 0))
    await eventually(lambda: shows(service, "assigned_partitions", 27))
    assert await service.terminate() == 0


async def test_a_message_without_a_timestamp_is_as_old_as_the_time_since_it_was_missed(deployment: Deployment) -> None:
    """Some clients send none, and Kafka keeps it so."""
    await deployment.make_topics(partitions=1)
    service = await (await deployment.start(faults=LOOKS_OFTEN)).ready()
    record = encode(event(ProspectGenerated(account_id="a", prospect_id="p"), AT))
    raw = RawRecord(record.value, record.key, [(name.encode(), value) for name, value in record.headers])
    batch = batch_of([raw], timestamp_ms=NO_TIMESTAMP)
    blocker = await asyncpg.connect(deployment.database_url)
    async with deployment.upstream() as upstream:
        await upstream.send([PLAN])
        await deployment.oracle().drained()
    async with blocker.transaction():
        await blocker.execute("SELECT FROM credits.accounts FOR UPDATE")
        await append(deployment.kafka, deployment.topic(TOPIC), 0, batch)
        await eventually(lambda: shows(service, "lag_messages", 1, topic=TOPIC))
        await eventually(lambda: shows_more(service, "lag_seconds", 0, topic=TOPIC))
        assert ((await scraped(service)).value("lag_seconds", topic=TOPIC) or 0) < patience(60)
    await blocker.close()
    await eventually(lambda: has_no_lag(service))
    assert await service.terminate() == 0


async def has_no_lag(service: ServiceProcess) -> bool:
    seen = await scraped(service)
    return list(seen.values("lag_messages")) == list(seen.values("lag_seconds")) == [0] * 9


async def readers_wait_for_each_other(deployment: Deployment, service: ServiceProcess) -> None:
    """More are read than there are connections to read over: that is no fault of the database."""
    connection = await asyncpg.connect(deployment.database_url)
    lock = connection.transaction()
    await lock.start()
    await connection.execute("LOCK TABLE credits.grants IN ACCESS EXCLUSIVE MODE")
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{service.http_port}", timeout=patience(30), headers=BEARER
    ) as client:
        reading = [asyncio.create_task(client.get("/v1/accounts/a")) for _ in range(5)]
        await eventually(lambda: shows(service, "pool_connections", 2, pool="reads", state="used"))
        await service.ready()
        await lock.rollback()
        await connection.close()
        assert {(await one).status_code for one in reading} == {200}


async def the_database_goes_away(deployment: Deployment, service: ServiceProcess, upstream: Upstream) -> None:
    async with database_away(deployment.database_url):
        await generate(upstream, "p1")
        await eventually(lambda: says(service, "database", "does not answer"))
        await eventually(lambda: says(service, "progress", "messages wait, and none was decided for more than 2 s"))
        await eventually(lambda: shows(service, "ready", 0))
        await eventually(lambda: shows(service, "database_up", 0))
        await eventually(lambda: shows(service, "outbox_events", None))
        await eventually(lambda: shows(service, "lag_messages", 1, topic=TOPIC))
        await eventually(lambda: shows_more(service, "lag_seconds", 2, topic=TOPIC))
        await eventually(lambda: shows_more(service, "progress_age_seconds", 2))
    await service.ready()
    await eventually(lambda: shows(service, "lag_messages", 0, topic=TOPIC))
    await eventually(lambda: shows(service, "lag_seconds", 0, topic=TOPIC))
    await eventually(lambda: shows(service, "outbox_events", 0))


async def the_lock_of_an_account_is_held(deployment: Deployment, service: ServiceProcess, upstream: Upstream) -> None:
    """The database answers, so that it shows what waits meanwhile."""
    blocker = await asyncpg.connect(deployment.database_url)
    async with blocker.transaction():
        await blocker.execute("SELECT FROM credits.accounts FOR UPDATE")
        await generate(upstream, "p2", "p3")
        await eventually(lambda: shows(service, "lag_messages", 2, topic=TOPIC))
        await eventually(lambda: says(service, "progress", "messages wait"))
        await eventually(lambda: shows_more(service, "lag_seconds", 0, topic=TOPIC))
        await eventually(lambda: shows(service, "lag_messages", 0, topic="email-bounced"))
        await eventually(lambda: shows(service, "database_up", 1))
    await blocker.close()
    await service.ready()
    await eventually(lambda: shows(service, "lag_messages", 0, topic=TOPIC))


async def the_schema_is_too_old(deployment: Deployment, service: ServiceProcess) -> None:
    connection = await asyncpg.connect(deployment.database_url)
    await connection.execute("DELETE FROM public.schema_migrations WHERE version = $1", newest_version())
    await eventually(lambda: says(service, "schema", "run `credits migrate`"))
    # A newer one is none of its concern: in a release the migration comes first.
    await connection.execute(
        "INSERT INTO public.schema_migrations (version) VALUES ($1), ('99990101000000')", newest_version()
    )
    await service.ready()
    await connection.close()


async def nobody_publishes(deployment: Deployment, service: ServiceProcess, upstream: Upstream) -> None:
    """Another process has the relay's lock and does nothing with it."""
    # What is published and not cleaned away yet, the next leader would not count.
    await deployment.oracle().drained()
    async with Clock.replacing(deployment.database_url, datetime.now(UTC)) as clock:
        idle = await asyncpg.connect(deployment.database_url)
        killer = await asyncpg.connect(deployment.database_url)
        await eventually(lambda: shows(service, "relay_leads", 1))
        # Stands in the lock's queue before it is free, or the relay could lead again.
        waiting = asyncio.create_task(idle.execute("SELECT pg_advisory_lock($1)", LEADER_LOCK))
        leaders = "SELECT pg_terminate_backend(pid) FROM unnest(pg_blocking_pids($1)) AS pid"
        await eventually(lambda: killer.fetchval(leaders, idle.get_server_pid()))
        await waiting
        await killer.close()
        await eventually(lambda: shows(service, "relay_leads", 0))
        await generate(upstream, "p4")
        await eventually(lambda: shows(service, "outbox_events", 1))
        await service.ready()
        await clock.set(datetime.now(UTC) + timedelta(seconds=90))
        await eventually(lambda: says(service, "outbox", "events have waited in the outbox for more than 60 s"))
        await eventually(lambda: shows_more(service, "outbox_oldest_age_seconds", 60))
        await idle.close()
        await service.ready()
        await eventually(lambda: shows(service, "relay_leads", 1))


async def partitions_are_lost(deployment: Deployment, service: ServiceProcess, upstream: Upstream) -> None:
    """The group throws the member out; what it gets back it cannot open before it can ask from where."""
    blocker = await asyncpg.connect(deployment.database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK credits.partition_offsets IN ACCESS EXCLUSIVE MODE")
        await expire_members(deployment.kafka, deployment.group)
        await eventually(lambda: says(service, "partitions", "the group rebalances"))
    await blocker.close()
    await generate(upstream, "p5")
    await deployment.oracle().drained()
    await service.ready()


async def test_a_member_for_whom_no_partitions_are_left_is_ready_and_takes_over(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    first = await (await deployment.start()).ready()
    second = await (await deployment.start()).ready()
    await first.ready()
    assert sorted([(await scraped(s)).value("assigned_partitions") or 0 for s in (first, second)]) == [0, 9]

    (has_all, stands_by) = (first, second) if not first.logged(STANDS_BY) else (second, first)
    assert stands_by.logged(STANDS_BY)
    assert await has_all.terminate() == 0
    await eventually(lambda: shows(stands_by, "assigned_partitions", 9))
    await stands_by.ready()
    assert await stands_by.terminate() == 0


async def test_who_is_stuck_ends_and_so_does_who_stands_still(deployment: Deployment) -> None:
    """One waits for a lock that nobody gives back, though the database answers; one's event loop does not turn."""
    await deployment.make_topics()
    deployment.settings |= {"stuck_seconds_max": str(STUCK_SECONDS_LEAST), "shutdown_seconds": "2"}
    still = await (await deployment.start(kafka_group_id=f"{deployment.group}-2", faults=STANDS_STILL)).ready()
    still.signal(signal.SIGUSR1)
    stuck = await (await deployment.start()).ready()
    async with deployment.upstream() as upstream:
        blocker = await asyncpg.connect(deployment.database_url)
        async with blocker.transaction():
            await blocker.execute("SELECT FROM credits.partition_offsets FOR UPDATE")
            await upstream.send([PLAN])
            async with living(stuck):
                await eventually(lambda: says(stuck, "progress", "messages wait"))
            assert await stuck.ended(60) == 1
        await blocker.close()
    assert stuck.logged("messages wait and nothing is decided, ending so that another start may help")
    assert await still.ended() == 1
    assert "Timeout (0:00:10)!" in still.said()

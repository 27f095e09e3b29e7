"""A replica takes over from the primary under load: real servers, and a name that leads from one to the other.

Replication is asynchronous: what was committed last may be lost, though its events are out.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from chaos.faults import READ_ONLY
from chaos.plan import chances, new_seed
from chaos.scene import Scene
from chaos.workload import Progress, Workload, traffic_only
from credit_local_stack import Stack
from support.observed import CHANGES
from support.patience import patience
from support.promises import violations
from support.reconciled import reconcile
from support.service import Deployment
from support.stack import in_a_loop_of_its_own, in_memory
from support.standby import Name, Replica, ask, name_of
from support.wait import eventually

pytestmark = [pytest.mark.local_stack, pytest.mark.xdist_group("own_stack"), pytest.mark.timeout(600)]

EVENTS = 200
MEMBERS = 2
PROMISED_SECONDS = 30
OURS = """SELECT count(*) = 0 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'credit-service'"""
WRITTEN = """SELECT (SELECT sum(next_offset) FROM credits.partition_offsets)::text || ' '
    || (SELECT count(*) FROM credits.entries) || ' ' || (SELECT count(*) FROM credits.decisions)"""


@dataclass
class Servers:
    """The primary, what follows it, and the name by which the service knows whichever decides."""

    stack: Stack
    old_url: str
    replica: Replica
    name: Name


@pytest.fixture
def replica(own_stack: Stack, own_deployment: Deployment) -> Iterator[Replica]:
    folder = Path(mkdtemp(dir=in_memory()))
    replica = Replica(own_deployment.database_url, folder)
    try:
        replica.start()
        yield replica
    finally:
        replica.end()
        shutil.rmtree(folder)
        own_stack.start_postgres()
        in_a_loop_of_its_own(lambda: writes_again(own_stack.database_url))


async def writes_again(url: str) -> None:
    await ask(url, "ALTER SYSTEM RESET default_transaction_read_only")
    await ask(url, "SELECT pg_reload_conf()")


@pytest.fixture
async def servers(own_stack: Stack, own_deployment: Deployment, replica: Replica) -> AsyncIterator[Servers]:
    async with name_of(own_deployment.database_url) as name:
        own_deployment.settings["database_url"] = name.url
        yield Servers(own_stack, own_deployment.database_url, replica, name)


@asynccontextmanager
async def under_load(scene: Scene, workload: Workload, section: int) -> AsyncIterator[Progress]:
    progress = Progress()
    async with asyncio.TaskGroup() as people:
        people.create_task(workload.play(workload.sections[section], scene, progress, people))
        yield progress


async def killed(servers: Servers, scene: Scene) -> None:
    await asyncio.to_thread(servers.stack.kill_postgres)
    await scene.say("database")


async def read_only(servers: Servers, scene: Scene) -> None:
    await ask(servers.old_url, "ALTER SYSTEM SET default_transaction_read_only = on")
    await ask(servers.old_url, "SELECT pg_reload_conf()")
    await scene.send_more(1)
    for part in ("ledger", "relay"):
        await scene.say(part, READ_ONLY)


async def alive(servers: Servers, scene: Scene) -> None:
    """Nobody tells the sessions that they are on the wrong server."""


ALSO_LOST = {"event-repeated", "event-differs", "event-extra", "event-out-of-order"}
"""What `credits reconcile` finds of commits that were lost, once their messages are decided again."""

_MORE = pytest.mark.chaos


@pytest.mark.parametrize(
    ("old", "loses"),
    [
        pytest.param(killed, True, id="killed, commits lost"),
        pytest.param(killed, False, id="killed, nothing lost", marks=_MORE),
        pytest.param(read_only, True, id="read-only, commits lost", marks=_MORE),
        pytest.param(read_only, False, id="read-only, nothing lost"),
        # What is written to it until its sessions are left is lost.
        pytest.param(alive, True, id="alive"),
    ],
)
async def test_a_replica_takes_over_under_load(
    own_scene: Scene,
    servers: Servers,
    old: Callable[[Servers, Scene], Awaitable[None]],
    loses: bool,
    tell: Callable[[str], None],
) -> None:
    seed = new_seed()
    scene, deployment, replica = own_scene, own_scene.deployment, servers.replica
    workload = traffic_only(chances(seed, "traffic"), 3, EVENTS)
    await deployment.make_topics(partitions=3)
    await scene.begin(MEMBERS)
    await workload.play(workload.sections[0], scene, Progress(), asyncio.TaskGroup())
    await deployment.oracle().check()
    await replica.follows()
    if loses:
        await replica.cut_off()
        await workload.play(workload.sections[1], scene, Progress(), asyncio.TaskGroup())
        await deployment.oracle().check()
    async with under_load(scene, workload, 2) as progress:
        await progress.reached(4)
        await old(servers, scene)
        await asyncio.to_thread(replica.promote)
        began = time.monotonic()
        servers.name.leads_to = deployment.database_url = replica.url
        if old is not killed:
            within = PROMISED_SECONDS
            await eventually(lambda: none_is_left(servers), within_seconds=within, what="nobody on the old one")
            written = await ask(servers.old_url, WRITTEN)
        await scene.ready()
        took = time.monotonic() - began
    assert took < patience(PROMISED_SECONDS)

    observed = await deployment.oracle().settled()
    found = Counter(finding["kind"] for finding in (await reconcile(deployment)).findings)
    again = sum(count > 1 for count in Counter(m.header("ce_id") for m in observed.outgoing[CHANGES]).values())
    tell(f"{seed}: after {took:.1f} s, {again} changes published again; {dict(found)}")
    # The ledger has an effect of each message, and what was published last under an id is what it says.
    assert [line for line in violations(observed, repeats=loses) if not (loses and is_of_what_was_lost(line))] == []
    assert observed.dead_letters == observed.gaps == []
    assert (again > 0) == loses
    assert set(found) <= (ALSO_LOST if loses else set())
    if old is not killed:
        assert await ask(servers.old_url, WRITTEN) == written
    codes = await asyncio.gather(*(member.terminate() for member in scene.members))
    assert set(codes) == {0}


def is_of_what_was_lost(violation: str) -> bool:
    """Decided again in another order, a message may come to something else, under an id that is out already."""
    return violation.endswith((" is out with two meanings", " is out and not in the ledger"))


async def none_is_left(servers: Servers) -> bool:
    return bool(await ask(servers.old_url, OURS))

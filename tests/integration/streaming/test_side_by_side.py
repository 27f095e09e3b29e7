"""Members of this state and of an earlier one in one group, as in a release and on the way back from one.

The database has the schema of this one, which is migrated first, and stays on the way back.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.earlier import earlier_state
from support.traffic import random_traffic, slices
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import TypeAlias

    from support.service import Deployment, ServiceProcess
    from support.traffic import Upstream

    Start: TypeAlias = Callable[[], Awaitable[ServiceProcess]]

STATES = {
    "before members had names of their own": "8d17c96e31649e1dd8e727fa83ea846f95fbb053",
    "before rows were set aside, with a schema of seven migrations": "b2d60404581e25010416a21b7f336e1f56e228fd",
}


async def has_led(service: ServiceProcess) -> None:
    await eventually(lambda: service.logged("relay leads"), what=f"{service.log.name} leads the relay")


async def has_decided(service: ServiceProcess) -> None:
    await eventually(lambda: service.logged("batch"), what=f"{service.log.name} decides")


@pytest.mark.slow
@pytest.mark.parametrize("is_upgrade", [True, False], ids=["upgrade", "way back"])
@pytest.mark.parametrize("commit", STATES.values(), ids=STATES.keys())
async def test_members_of_two_states_share_the_work(
    deployment: Deployment, tmp_path: Path, commit: str, *, is_upgrade: bool
) -> None:
    """Under load. Each state's member is the relay while the other's is in the group, and both decide."""
    state = earlier_state(commit, tmp_path / "earlier")
    before: Start = partial(deployment.start_earlier, state)
    after: Start = deployment.start
    if not is_upgrade:
        before, after = after, before
    await deployment.make_topics(partitions=6)
    async with deployment.upstream() as upstream:
        first = await (await before()).ready()
        await has_led(first)
        is_over = asyncio.Event()
        sending = asyncio.create_task(send_as_it_is_decided(deployment, upstream, is_over))
        second = await (await after()).ready()
        await has_decided(second)
        third = await (await before()).ready()
        assert not second.logged("relay leads")
        assert await first.terminate() == 0
        if not await leads(second, third):
            assert await third.terminate() == 0
            third = await (await before()).ready()
            await has_led(second)
        await has_decided(third)
        is_over.set()
        await sending
        assert await third.terminate() == 0
        await deployment.oracle().check()
        assert await second.terminate() == 0


async def send_as_it_is_decided(deployment: Deployment, upstream: Upstream, is_over: asyncio.Event) -> None:
    """The next messages once the last ones are decided, so that there is work all the time."""
    sent = 0
    for part in slices(random_traffic(19, accounts=24, events=20_000), 20):
        if is_over.is_set():
            return
        sent += len(await upstream.send(part))
        await eventually(lambda: events_decided(deployment) >= sent, what="what was sent is decided")  # noqa: B023
    raise AssertionError("there was no load at the end")


def events_decided(deployment: Deployment) -> int:
    return sum(batch["events"] for process in deployment.processes for batch in process.logged("batch"))


async def leads(one: ServiceProcess, other: ServiceProcess) -> bool:
    """Whether the one is the relay; False for the other."""
    await eventually(lambda: one.logged("relay leads") or other.logged("relay leads"), what="one of them leads")
    return bool(one.logged("relay leads"))

"""Several members of a consumer group begin at one instant: none reads before all have their partitions."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.deployment import Deployment

JOIN_SECONDS_MAX = 40
LOOK_EVERY_SECONDS = 0.05
STABLE = "Stable"


class GroupIncomplete(Exception):  # noqa: N818 - reads as what happened
    """A consumer group did not get all its members in time."""


@asynccontextmanager
async def held_back(deployment: Deployment) -> AsyncIterator[None]:
    """Until this ends, no member of the service gets to know where it reads on: the stored offsets are locked."""
    connection = await asyncpg.connect(deployment.database_url, command_timeout=JOIN_SECONDS_MAX)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE credits.partition_offsets IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def all_have_joined(deployment: Deployment, members: int) -> None:
    """Waits until the deployment's group has so many members and its partitions are shared among them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.bootstrap_servers.split(","))
    try:
        await admin.start()
        async with asyncio.timeout(JOIN_SECONDS_MAX):
            while await _members(admin, deployment.group_id) != members:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(LOOK_EVERY_SECONDS)
    except TimeoutError:
        raise GroupIncomplete(f"the group did not have {members} members within {JOIN_SECONDS_MAX} s") from None
    finally:
        await admin.close()


async def _members(admin: AIOKafkaAdminClient, group_id: str) -> int:
    """How many members share the partitions; 0 while that is being settled."""
    (response,) = await admin.describe_consumer_groups([group_id])
    ((_, _, state, _, _, members, *_),) = response.groups
    return len(members) if state == STABLE else 0

"""Takes the member that a killed process of the same instance id has left behind out of the group."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiokafka.errors import UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from credit_service.kafka.access.probe import group_coordinator
from credit_service.kafka.access.requests import GroupsRequest
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable

log = structlog.get_logger(__name__)

SECONDS_MAX = 5.0
# For a process that ends.
ALONE_SECONDS_MAX = 1.0
LOOK_AGAIN_SECONDS = 0.05


class Predecessors:
    """Takes members with this process' name out of the group, once, when the process joins for the first time.

    A killed member is in the group until its session expires, and until then its partitions are assigned to no other.
    A living process with the same name joins again by itself, and takes no member out then: two such processes do not
    take each other out for ever.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._is_due = bool(connection.instance_id)
        self._leaving: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def replaced(self) -> AsyncIterator[None]:
        """The context in which the group is joined. Failures here do not keep the process from joining."""
        left_behind = await self._left_behind() if self._is_due else frozenset()
        if left_behind:
            self._leaving = asyncio.create_task(self._take_out(left_behind))
        try:
            yield
        except BaseException:
            if self._leaving is not None:
                self._leaving.cancel()
            raise
        # Not sooner: a rebalance before the task had its turn is no reason to leave it undone.
        self._is_due = False

    async def is_to_be_taken_out(self) -> bool:
        """Whether a process that ends stays in the group for its next start: it has a name and is the only member.

        If it left, the group would be empty, and wait for more members before it assigns partitions.
        """
        if not self._connection.instance_id:
            return False
        try:
            async with asyncio.timeout(ALONE_SECONDS_MAX), group_coordinator(self._connection) as coordinator:
                members = await self._all_members(coordinator)
        except Exception as error:  # a defect, too: it leaves as usual
            log.warning("the group's members could not be requested", cause=type(error).__name__)
            return False
        return len(members) == 1 and members[0][1] == self._connection.client_id

    async def _left_behind(self) -> Collection[str]:
        try:
            async with asyncio.timeout(SECONDS_MAX), group_coordinator(self._connection) as coordinator:
                return await self._members(coordinator)
        except Exception as error:  # a defect, too: the group can be joined all the same
            _log_failure(error)
            return frozenset()

    async def _take_out(self, left_behind: Collection[str]) -> None:
        try:
            async with asyncio.timeout(SECONDS_MAX), group_coordinator(self._connection) as coordinator:
                # A group that is empty, if only for a moment, waits for more members before it assigns partitions
                # (3 s by default). So they are taken out once this process is in the group.
                while (members := set(await self._members(coordinator))) <= set(left_behind):
                    if not members:
                        break
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                for member_id in members & set(left_behind):
                    await self._leave(coordinator, member_id)
        except Exception as error:  # a defect, too: their sessions expire
            _log_failure(error)

    async def _members(self, coordinator: Any) -> Collection[str]:
        """The ids of the members with this name; one without partitions yet is among them."""
        members = await self._all_members(coordinator)
        return frozenset(member[0] for member in members if member[1] == self._connection.client_id)

    async def _all_members(self, coordinator: Any) -> Sequence[tuple[Any, ...]]:
        """All members of the group, each with its id and its client id first."""
        answer = await coordinator.send(GroupsRequest([self._connection.group_id]))
        ((error_code, _, _, _, _, members, _),) = answer.groups
        if error_code:
            raise BrokerUnavailable(for_code(error_code).__name__)
        return members  # type: ignore[no-any-return]  # aiokafka ships no types

    async def _leave(self, coordinator: Any, member_id: str) -> None:
        answer = await coordinator.send(LeaveGroupRequest(self._connection.group_id, member_id))
        error = for_code(answer.error_code)
        if answer.error_code and error is not UnknownMemberIdError:
            raise BrokerUnavailable(error.__name__)
        log.info("a predecessor of this name was taken out of the group", member=member_id)


def _log_failure(error: Exception) -> None:
    log.warning(
        "a predecessor could not be taken out of the group, it may stay until its session has run out",
        cause=str(error) if isinstance(error, BrokerUnavailable) else type(error).__name__,
    )

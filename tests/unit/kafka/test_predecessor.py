"""When a predecessor is taken out of the group, and that failures there do not prevent the join."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.group import LeaveGroupRequest

from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume import predecessor
from credit_service.kafka.consume.predecessor import Predecessors
from support.patience import patience
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMED = KafkaConnection("h:1", "credits", instance_id="pod-1")
OLD, NEW, OTHER = ("old", "credits-pod-1"), ("new", "credits-pod-1"), ("x", "credits-pod-2")


class Coordinator:
    """Gives the members that a test sets, and notes the requests."""

    def __init__(self) -> None:
        self.members = {OLD, OTHER}
        self.left: list[str] = []
        self.looks = 0
        self.fault: Exception | None = None
        self.refuses = 0
        self.is_silent = False

    @asynccontextmanager
    async def connected(self, connection: KafkaConnection) -> AsyncIterator[Coordinator]:
        assert connection is NAMED
        if self.is_silent:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        yield self

    async def send(self, request: Any) -> Any:
        if isinstance(request, LeaveGroupRequest):
            if not self.refuses:
                self.left.append(request._member_id)
                self.members -= {member for member in self.members if member[0] == request._member_id}
            return SimpleNamespace(error_code=self.refuses)
        self.looks += 1
        members = [(*member, "/h", b"", b"") for member in sorted(self.members)]
        return SimpleNamespace(groups=[(0, "credits", "Stable", "consumer", "range", members, 0)])


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    coordinator = Coordinator()
    monkeypatch.setattr(predecessor, "group_coordinator", coordinator.connected)
    monkeypatch.setattr(predecessor, "LOOK_AGAIN_SECONDS", 0.001)
    return coordinator


async def test_it_leaves_once_the_own_join_is_seen_and_not_before(coordinator: Coordinator) -> None:
    async with Predecessors(NAMED).replaced():
        await eventually(lambda: coordinator.looks > 5, what="it waits for the own join")
        assert coordinator.left == []
        coordinator.members.add(NEW)
        await eventually(lambda: coordinator.left == ["old"], what="the predecessor leaves")
    assert coordinator.members == {NEW, OTHER}


async def test_it_leaves_also_if_the_group_was_joined_meanwhile(coordinator: Coordinator) -> None:
    async with Predecessors(NAMED).replaced():
        coordinator.members.add(NEW)
    await eventually(lambda: coordinator.left == ["old"], what="the predecessor leaves")


async def test_nobody_is_thrown_out_when_it_joins_again(coordinator: Coordinator) -> None:
    predecessors = Predecessors(NAMED)
    async with predecessors.replaced():
        coordinator.members.add(NEW)
        await eventually(lambda: coordinator.left == ["old"], what="the predecessor leaves")
    leaving = predecessors._leaving
    assert leaving is not None
    await eventually(leaving.done, what="it looks no more")
    coordinator.members.add(OLD)
    looks = coordinator.looks
    async with predecessors.replaced():
        coordinator.members.add(("newer", "credits-pod-1"))
    assert predecessors._leaving is leaving, "another one looks"
    assert (coordinator.left, coordinator.looks) == (["old"], looks)


async def test_a_join_that_fails_leaves_it_to_the_next(coordinator: Coordinator) -> None:
    predecessors = Predecessors(NAMED)
    with pytest.raises(KafkaConnectionError):
        async with predecessors.replaced():
            raise KafkaConnectionError
    coordinator.members.add(NEW)
    async with predecessors.replaced():
        # A member that a failed join has left behind is a predecessor as well.
        coordinator.members.add(("newer", "credits-pod-1"))
        await eventually(lambda: sorted(coordinator.left) == ["new", "old"], what="both leave")


async def test_without_a_name_nobody_is_looked_for(coordinator: Coordinator) -> None:
    async with Predecessors(KafkaConnection("h:1", "credits")).replaced():
        pass
    assert coordinator.looks == 0


async def test_one_that_is_gone_by_itself_is_not_waited_for(
    coordinator: Coordinator, caplog: pytest.LogCaptureFixture
) -> None:
    predecessors = Predecessors(NAMED)
    async with predecessors.replaced():
        coordinator.members.discard(OLD)
        assert predecessors._leaving is not None
        await asyncio.wait_for(predecessors._leaving, patience(30))
    assert coordinator.left == []
    assert not caplog.records


async def test_one_that_ends_stays_for_its_next_start_if_nobody_else_is_there(coordinator: Coordinator) -> None:
    predecessors = Predecessors(NAMED)
    for members, stays in (({NEW}, True), ({NEW, OTHER}, False), ({OTHER}, False), (set(), False)):
        coordinator.members = members
        assert await predecessors.is_to_be_taken_out() is stays, members
    coordinator.members = {NEW}
    assert not await Predecessors(KafkaConnection("h:1", "credits")).is_to_be_taken_out()
    coordinator.fault = KafkaConnectionError()
    assert not await predecessors.is_to_be_taken_out()


@pytest.mark.parametrize("fault", [KafkaConnectionError(), OSError(), ZeroDivisionError()])
async def test_a_look_that_fails_keeps_nobody_from_joining(coordinator: Coordinator, fault: Exception) -> None:
    coordinator.fault = fault
    joined = False
    async with Predecessors(NAMED).replaced():
        joined = True
    assert joined
    assert coordinator.left == []


async def test_a_silent_broker_is_not_waited_for_longer_than_it_may_be(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predecessor, "SECONDS_MAX", 0.05)
    coordinator.is_silent = True
    async with Predecessors(NAMED).replaced():
        pass
    assert coordinator.looks == 0


async def test_a_refusal_is_told_and_changes_nothing_else(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(predecessor.log, "warning", lambda _, cause: told.append(cause))
    coordinator.refuses = 30
    async with Predecessors(NAMED).replaced():
        coordinator.members.add(NEW)
        await eventually(lambda: told == ["GroupAuthorizationFailedError"], what="the refusal is told")
    assert coordinator.members == {OLD, NEW, OTHER}

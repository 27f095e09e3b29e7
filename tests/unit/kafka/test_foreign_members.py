"""Foreign members of the group are found and reported, and one member measures the lag of their partitions."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from credit_service.application.readiness import Status
from credit_service.kafka.access.foreign_members import ForeignMembers, Group, group_of
from credit_service.kafka.connect.connection import KafkaConnection

CONNECTION = KafkaConnection("h:1", "credits", "p-")
TOPICS = CONNECTION.incoming_topics
A, B, C = (TopicPartition(TOPICS[0], number) for number in range(3))

Told = tuple[str, str, str, bytes, bytes]


def member(member_id: str, client_id: str, *numbers: int, topics: list[str] = TOPICS, host: str = "/10.0.0.1") -> Told:
    """A member in a broker's form, with these partitions of the first topic."""
    metadata = ConsumerProtocolMemberMetadata(0, topics, b"").encode()
    assignment = ConsumerProtocolMemberAssignment(0, [(topics[0], list(numbers))], b"").encode()
    return member_id, client_id, host, metadata, assignment


def group(*members: Told, state: str = "Stable") -> Group:
    return group_of(CONNECTION, state, members)


@pytest.mark.parametrize("client_id", ["credits", "credits-pod-1"])
def test_a_member_with_the_groups_name_is_ours(client_id: str) -> None:
    (found,) = group(member("1", client_id, 0)).members
    assert (found.is_ours, found.partitions, found.host) == (True, frozenset({A}), "10.0.0.1")


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(member("1", "other", 0), id="another client id"),
        pytest.param(member("1", "creditsx", 0), id="another client id that begins alike"),
        pytest.param(member("1", "credits", 0, topics=[*TOPICS, "more"]), id="other topics"),
        pytest.param((*member("1", "credits", 0)[:3], b"?", member("1", "credits", 0)[4]), id="no consumer"),
    ],
)
def test_any_other_that_holds_partitions_is_a_stranger(told: Told) -> None:
    assert [one.partitions for one in group(told).foreign_members] == [{A}]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(member("1", "other", 0, topics=["elsewhere"]), id="of other topics"),
        pytest.param(member("1", "other"), id="none"),
        pytest.param(("1", "other", "/h", b"", b""), id="still joining"),
        pytest.param(("1", "other", "/h", b"", b"?"), id="not to be read"),
    ],
)
def test_who_holds_none_of_our_partitions_is_no_stranger(told: Told) -> None:
    assert group(told).foreign_members == []


def test_strangers_are_named_until_they_have_gone() -> None:
    status = Status({})
    strangers = ForeignMembers(status)
    strangers.look(group(member("1", "credits", 0), member("2", "x", 1), member("3", "x", 2, host="/10.0.0.2")))
    words = "strangers in the group hold partitions, whose messages are not decided: client id x on 2 hosts has 2"
    assert status.degraded == {"group": words}
    strangers.look(group(member("1", "credits"), state="PreparingRebalance"))
    strangers.look(None)
    assert status.degraded == {"group": words}
    strangers.look(group(member("1", "credits", 0, 1, 2)))
    assert status.degraded == {}


def test_of_many_some_are_named() -> None:
    status = Status({})
    ForeignMembers(status).look(group(*(member(f"{n}", f"x{n}", n) for n in range(9))))
    assert status.degraded["group"].count("client id") == 5
    assert status.degraded["group"].endswith(" and 4 more")


def test_one_of_ours_counts_what_strangers_hold() -> None:
    strangers = ForeignMembers(Status({}))
    assert strangers.counted_by("1", {A, B, C}) == set()
    strangers.look(group(member("2", "credits", 0), member("1", "credits-a", 1), member("0", "x", 2)))
    assert strangers.counted_by("1", {A, C}) == {C}
    assert strangers.counted_by("2", {B, C}) == set()
    assert strangers.counted_by("1", {A}) == set()

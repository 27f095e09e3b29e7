"""Several processes with one name are reported until only one is left."""

from __future__ import annotations

from credit_service.application.readiness import Status
from credit_service.kafka.access.duplicate_instances import DuplicateInstances
from credit_service.kafka.access.foreign_members import Group, GroupMember
from credit_service.kafka.connect.connection import KafkaConnection

NAMED = KafkaConnection("h:1", "credits", instance_id="pod-1")


def group(*client_ids: str, is_stable: bool = True) -> Group:
    members = [
        GroupMember(str(number), client_id, f"10.0.0.{number}", frozenset(), is_ours=True)
        for number, client_id in enumerate(client_ids)
    ]
    return Group(is_stable, members)


def test_two_of_the_own_name_are_told_of_until_one_is_gone() -> None:
    status = Status({})
    twins = DuplicateInstances(NAMED, status)
    twins.look(group("credits-pod-1", "credits-pod-2"))
    assert status.degraded == {}
    twins.look(group("credits-pod-1", "credits-pod-2", "credits-pod-1"))
    words = "2 members have the client id credits-pod-1, on 10.0.0.0, 10.0.0.2: CREDITS_INSTANCE_ID is for one process"
    assert status.degraded == {"twins": words}
    # Nothing is known during a rebalance, nor without an answer about the group.
    twins.look(group("credits-pod-1", is_stable=False))
    twins.look(None)
    assert status.degraded == {"twins": words}
    twins.look(group("credits-pod-1"))
    assert (status.degraded, status.problems) == ({}, {})


def test_a_few_hosts_are_named() -> None:
    status = Status({})
    DuplicateInstances(NAMED, status).look(group(*["credits-pod-1"] * 8))
    assert status.degraded["twins"].count("10.0.0.") == 5
    assert " and 3 more: " in status.degraded["twins"]


def test_others_of_one_name_are_none_of_its_business_and_without_a_name_there_are_no_twins() -> None:
    status = Status({})
    DuplicateInstances(NAMED, status).look(group("credits-pod-1", "credits-pod-2", "credits-pod-2"))
    DuplicateInstances(KafkaConnection("h:1", "credits"), status).look(group("credits", "credits"))
    assert status.degraded == {}

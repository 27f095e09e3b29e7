"""Finds members of the consumer group that are not of this service: events of their partitions are not decided."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from credit_service.application.readiness import Status
from credit_service.kafka.connect.connection import KafkaConnection

log = structlog.get_logger(__name__)

STABLE = "Stable"
NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member of the group, as the coordinator knows it; `partitions` are those of the incoming topics."""

    member_id: str
    client_id: str
    host: str
    partitions: frozenset[TopicPartition]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group at one moment; while it is not `is_stable`, its members have no partitions yet."""

    is_stable: bool = False
    members: Sequence[GroupMember] = field(default_factory=list)

    @property
    def foreign_members(self) -> list[GroupMember]:
        """The members that are not of this service and have partitions of its topics."""
        return [member for member in self.members if not member.is_ours and member.partitions]


def group_of(connection: KafkaConnection, state: str, members: Iterable[tuple[Any, ...]]) -> Group:
    """The service's group, of a broker's answer: id, client id, host, metadata and assignment of each member."""
    incoming = set(connection.incoming_topics)
    found = []
    for member_id, client_id, host, metadata, assignment in members:
        found.append(
            GroupMember(
                member_id,
                client_id,
                host.removeprefix("/"),
                frozenset(partition for partition in _assigned(assignment) if partition.topic in incoming),
                _is_of(connection, client_id) and _subscribes(metadata, incoming),
            )
        )
    return Group(state == STABLE, found)


def _is_of(connection: KafkaConnection, client_id: str) -> bool:
    """Whether the client id is the group's name, or begins with it, as with an instance id."""
    return client_id == connection.group_id or client_id.startswith(f"{connection.group_id}-")


def _subscribes(metadata: bytes, incoming: set[str]) -> bool:
    """Whether the member reads the incoming topics; true for one that is still joining, which has no metadata."""
    if not metadata:
        return True
    try:
        return set(ConsumerProtocolMemberMetadata.decode(metadata).subscription) == incoming
    except ValueError:
        return False


def _assigned(assignment: bytes) -> list[TopicPartition]:
    if not assignment:
        return []
    try:
        found: list[TopicPartition] = ConsumerProtocolMemberAssignment.decode(assignment).partitions()
    except ValueError:
        return []
    return found


class ForeignMembers:
    """Names in `status` the members that are not of this service and have partitions of its topics."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._group = Group()

    def look(self, group: Group | None) -> None:
        """Checks the group; nothing changes while it is None, which is unknown, or rebalances."""
        if group is None or not group.is_stable:
            return
        self._group = group
        problem = problem_of(group.foreign_members)
        if not self._status.degrade("group", problem):
            return
        if problem is None:
            log.info("no stranger in the group holds partitions any more")
        else:
            log.error("strangers in the group hold partitions, whose messages are not decided", strangers=problem)

    def counted_by(self, member_id: str, partitions: Collection[TopicPartition]) -> set[TopicPartition]:
        """Those of `partitions` that foreign members have, if it is this member that measures their lag.

        Only the first member of this service does, so that nothing is counted twice.
        """
        ours = sorted(member.member_id for member in self._group.members if member.is_ours)
        if not ours or ours[0] != member_id:
            return set()
        return {at for member in self._group.foreign_members for at in member.partitions} & set(partitions)


def problem_of(members: Sequence[GroupMember]) -> str | None:
    """The client ids, hosts and numbers of partitions of foreign members; None if there are none."""
    if not members:
        return None
    counts: Counter[str] = Counter()
    hosts: dict[str, set[str]] = {}
    for member in members:
        counts[member.client_id] += len(member.partitions)
        hosts.setdefault(member.client_id, set()).add(member.host)
    named = [f"client id {name} on {_hosts(hosts[name])} has {count}" for name, count in sorted(counts.items())]
    more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
    listed = ", ".join(named[:NAMED_MAX]) + more
    return f"strangers in the group hold partitions, whose messages are not decided: {listed}"


def _hosts(hosts: Collection[str]) -> str:
    return next(iter(hosts)) if len(hosts) == 1 else f"{len(hosts)} hosts"

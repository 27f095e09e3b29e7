"""Members of the consumer group that are none of this service: what they are given, nobody decides."""

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
    """A member of the group, as its coordinator knows it; `partitions` are those of the incoming topics."""

    member_id: str
    client_id: str
    host: str
    partitions: frozenset[TopicPartition]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group of one moment; while it is not `is_stable`, its members have nothing yet."""

    is_stable: bool = False
    members: Sequence[GroupMember] = field(default_factory=list)

    @property
    def foreign_members(self) -> list[GroupMember]:
        """Those that are none of ours and hold partitions of ours."""
        return [member for member in self.members if not member.is_ours and member.partitions]


def group_of(connection: KafkaConnection, state: str, members: Iterable[tuple[Any, ...]]) -> Group:
    """What a broker tells of the service's group: id, client id, host, metadata and assignment of each member."""
    incoming = set(connection.incoming_topics)
    found = []
    for member_id, client_id, host, metadata, assignment in members:
        held = _assigned(assignment)
        found.append(
            GroupMember(
                member_id,
                client_id,
                host.removeprefix("/"),
                frozenset(partition for partition in held if partition.topic in incoming),
                _is_of(connection, client_id) and _subscribes(metadata, incoming),
            )
        )
    return Group(state == STABLE, found)


def _is_of(connection: KafkaConnection, client_id: str) -> bool:
    """A member's client id is the group's name, or begins with it where each member has one of its own."""
    return client_id == connection.group_id or client_id.startswith(f"{connection.group_id}-")


def _subscribes(metadata: bytes, incoming: set[str]) -> bool:
    """Nothing is told of one that is still joining."""
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
    """Says in `status` who holds partitions of ours and is none of ours."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._group = Group()

    def look(self, group: Group | None) -> None:
        """Takes what was told of the group; where it is None, or is being shared out, what was known stands."""
        if group is None or not group.is_stable:
            return
        self._group = group
        problem = told_of(group.foreign_members)
        if not self._status.degrade("group", problem):
            return
        if problem is None:
            log.info("no stranger in the group holds partitions any more")
        else:
            log.error("strangers in the group hold partitions, nobody decides what lies there", strangers=problem)

    def counted_by(self, member_id: str, partitions: Collection[TopicPartition]) -> set[TopicPartition]:
        """Those of `partitions` that strangers hold, if it is this member that counts what waits there.

        One member does, so that nothing is counted twice: the first of ours.
        """
        ours = sorted(member.member_id for member in self._group.members if member.is_ours)
        if not ours or ours[0] != member_id:
            return set()
        return {at for stranger in self._group.foreign_members for at in stranger.partitions} & set(partitions)


def told_of(strangers: Sequence[GroupMember]) -> str | None:
    """Client ids and hosts, with how many partitions they hold; None if there are none."""
    if not strangers:
        return None
    held: Counter[str] = Counter()
    hosts: dict[str, set[str]] = {}
    for stranger in strangers:
        held[stranger.client_id] += len(stranger.partitions)
        hosts.setdefault(stranger.client_id, set()).add(stranger.host)
    named = [f"client id {name} on {_hosts(hosts[name])} has {count}" for name, count in sorted(held.items())]
    more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
    listed = ", ".join(named[:NAMED_MAX]) + more
    return f"strangers in the group hold partitions, and nobody decides what lies there: {listed}"


def _hosts(hosts: Collection[str]) -> str:
    return next(iter(hosts)) if len(hosts) == 1 else f"{len(hosts)} hosts"

"""Finds processes with the same instance id: each that starts takes the other for one that was killed."""

import structlog

from credit_service.application.readiness import Status
from credit_service.kafka.access.foreign_members import Group
from credit_service.kafka.connect.connection import KafkaConnection

log = structlog.get_logger(__name__)

HOSTS_NAMED_MAX = 5


class DuplicateInstances:
    """Reports in `status` that several members of the group have the name of this process."""

    def __init__(self, connection: KafkaConnection, status: Status) -> None:
        self._connection = connection
        self._status = status

    def look(self, group: Group | None) -> None:
        """Checks the group; nothing changes while it is None, which is unknown, or rebalances."""
        if group is None or not group.is_stable or not self._connection.instance_id:
            return
        problem = duplicates_of(self._connection.client_id, group)
        if not self._status.degrade("twins", problem):
            return
        if problem is None:
            log.info("no other process has the name of this one any more")
        else:
            log.error("several processes have one name", twins=problem)


def duplicates_of(client_id: str, group: Group) -> str | None:
    """The number of members with this client id, and their hosts; None if there are fewer than two."""
    hosts = sorted(member.host for member in group.members if member.client_id == client_id)
    if len(hosts) <= 1:
        return None
    named = sorted(set(hosts))
    more = f" and {len(named) - HOSTS_NAMED_MAX} more" if len(named) > HOSTS_NAMED_MAX else ""
    where = ", ".join(named[:HOSTS_NAMED_MAX]) + more
    return f"{len(hosts)} members have the client id {client_id}, on {where}: CREDITS_INSTANCE_ID is for one process"

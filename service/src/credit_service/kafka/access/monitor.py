"""Whether Kafka allows what the service needs: asked now and then, and at once when a part of it was refused."""

import asyncio
import contextlib
from uuid import UUID

import structlog

from credit_service.application.readiness import Status
from credit_service.kafka.access.duplicate_instances import DuplicateInstances
from credit_service.kafka.access.foreign_members import ForeignMembers
from credit_service.kafka.access.probe import inspect
from credit_service.kafka.access.topic_ids import topic_ids
from credit_service.kafka.connect.acls import Acl, publishing, reading
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, Refused, not_allowed

log = structlog.get_logger(__name__)

ASK_EVERY_SECONDS = 10.0
ASK_AGAIN_SECONDS = 1.0
ASK_AGAIN_SECONDS_MAX = 10.0


class AccessWatch:
    """Says in `status` what is refused. `reading` and `publishing` tell whether that is refused.

    `is_answered`: a broker has answered when last asked. `is_coordinated`: so has the one that looks after the group.
    `topic_ids` are those of the incoming topics, as last told.
    """

    def __init__(self, connection: KafkaConnection, status: Status) -> None:
        self.reading = False
        self.publishing = False
        self.is_answered = True
        self.is_coordinated = False
        self.topic_ids: dict[str, UUID] = {}
        self.foreign_members = ForeignMembers(status)
        self._duplicates = DuplicateInstances(connection, status)
        self._connection = connection
        self._status = status
        self._reading = reading(connection)
        self._publishing = publishing(connection)
        self._suspected = asyncio.Event()
        self._pause = ASK_AGAIN_SECONDS

    def suspect(self) -> None:
        """Says that something was refused, or that nothing is heard; what it is will be asked."""
        self._suspected.set()

    async def until_time(self) -> None:
        """Returns when it is time to ask: soon if something is refused, each time a little later."""
        refused = self.reading or self.publishing
        seconds = self._pause if refused else ASK_EVERY_SECONDS
        self._pause = min(self._pause * 2, ASK_AGAIN_SECONDS_MAX) if refused else ASK_AGAIN_SECONDS
        if refused:
            await asyncio.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._suspected.wait()
        self._suspected.clear()

    async def ask(self) -> None:
        """Looks at all rights of the service. A broker that does not answer leaves open what is refused."""
        self.is_coordinated = False
        try:
            seen = await inspect(self._connection, [*self._reading, *self._publishing])
        except Refused as error:
            self.reading = self.publishing = True
            self._tell(str(error))
        except BrokerUnavailable:
            self.is_answered = False
            return
        else:
            self.topic_ids.update(seen.topic_ids)
            group = seen.groups.get(self._connection.group_id)
            self.foreign_members.look(group)
            self._duplicates.look(group)
            self.reading = _overlap(seen.refused, self._reading)
            self.publishing = bool(seen.lacking) or _overlap(seen.refused, self._publishing)
            self.is_coordinated = self._connection.group_id not in seen.uncoordinated
            self._tell(str(not_allowed(seen.refused)) if seen.refused else seen.lacking)
        self.is_answered = True

    async def ask_for_topic_ids(self) -> dict[str, UUID]:
        """The ids of the incoming topics that are there, of this moment; raises `Refused` and `BrokerUnavailable`."""
        found = await topic_ids(self._connection, self._connection.incoming_topics)
        self.topic_ids.update(found)
        return found

    def _tell(self, problem: str | None) -> None:
        if not self._status.set("access", problem):
            return
        if problem is None:
            log.info("Kafka allows again what is needed")
        else:
            log.error("not ready", part="access", problem=problem)


def _overlap(refused: list[Acl], needed: list[Acl]) -> bool:
    return not set(refused).isdisjoint(needed)

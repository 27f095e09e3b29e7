"""Checks whether Kafka allows what the service needs: every ten seconds, and at once when something was refused."""

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
from credit_service.kafka.connect.errors import BrokerUnavailable, RefusedByKafka, not_allowed

log = structlog.get_logger(__name__)

ASK_EVERY_SECONDS = 10.0
ASK_AGAIN_SECONDS = 1.0
ASK_AGAIN_SECONDS_MAX = 10.0


class AccessWatch:
    """Names in `status` what is refused; `reading` and `publishing` are true while that is refused.

    `is_answered`: a broker has answered the last check. `is_coordinated`: so has the group's coordinator. `topic_ids`
    are the last known ids of the incoming topics.
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
        """Has the next check made at once, after a refusal or silence of the brokers."""
        self._suspected.set()

    async def until_time(self) -> None:
        """Returns when the next check is due; while something is refused, after growing pauses."""
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
        """Checks all rights of the service. If no broker answers, the last result stays."""
        self.is_coordinated = False
        try:
            report = await inspect(self._connection, [*self._reading, *self._publishing])
        except RefusedByKafka as error:
            self.reading = self.publishing = True
            self._report(str(error))
        except BrokerUnavailable:
            self.is_answered = False
            return
        else:
            self.topic_ids.update(report.topic_ids)
            group = report.groups.get(self._connection.group_id)
            self.foreign_members.look(group)
            self._duplicates.look(group)
            self.reading = _overlap(report.refused, self._reading)
            self.publishing = bool(report.lacking) or _overlap(report.refused, self._publishing)
            self.is_coordinated = self._connection.group_id not in report.uncoordinated
            self._report(str(not_allowed(report.refused)) if report.refused else report.lacking)
        self.is_answered = True

    async def ask_for_topic_ids(self) -> dict[str, UUID]:
        """The current ids of the incoming topics that exist; raises `RefusedByKafka` and `BrokerUnavailable`."""
        found = await topic_ids(self._connection, self._connection.incoming_topics)
        self.topic_ids.update(found)
        return found

    def _report(self, problem: str | None) -> None:
        if not self._status.set("access", problem):
            return
        if problem is None:
            log.info("Kafka allows all needed operations again")
        else:
            log.error("not ready", part="access", problem=problem)


def _overlap(refused: list[Acl], needed: list[Acl]) -> bool:
    return not set(refused).isdisjoint(needed)

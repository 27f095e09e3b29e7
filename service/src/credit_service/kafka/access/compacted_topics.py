"""Finds incoming topics that Kafka compacts: it removes all but the last message of each account, unread or not."""

import asyncio

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from credit_service.application.readiness import Status
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS = 60.0
ANSWER_SECONDS_MAX = 15
REQUEST_SECONDS_MAX = 10
POLICY, COMPACT = "cleanup.policy", "compact"


class CompactedTopics:
    """Names them in `status`, as far as the login may read the topics' settings."""

    def __init__(self, connection: KafkaConnection, status: Status) -> None:
        self._connection = connection
        self._status = status

    async def keep_looking(self) -> None:
        """Looks once a minute. Ends only when it is cancelled."""
        while True:
            try:
                self._report(await self._look())
            except (KafkaError, OSError, TimeoutError):
                pass  # the last result stays; other parts report a broker that is away
            except Exception:  # a defect must not end the looking for good
                log.exception("the topics' settings could not be looked at, trying again")
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _look(self) -> list[str]:
        topics = self._connection.incoming_topics
        admin = create_client(
            AIOKafkaAdminClient,
            self._connection,
            client_id=f"{self._connection.group_id}-settings",
            request_timeout_ms=REQUEST_SECONDS_MAX * 1000,
        )
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            try:
                await admin.start()
                resources = [ConfigResource(ConfigResourceType.TOPIC, name, {POLICY: None}) for name in topics]
                answers = await admin.describe_configs(resources)
            finally:
                await admin.close()
        # A topic that is missing, or that the login may not see, has no settings.
        return [
            name
            for answer in answers
            for error_code, _, _, name, settings in answer.resources
            if not error_code and any(key == POLICY and COMPACT in (value or "") for key, value, *_ in settings)
        ]

    def _report(self, compacted: list[str]) -> None:
        names = ", ".join(sorted(compacted))
        problem = f"Kafka compacts topics, and removes messages that were not read: {names}" if compacted else None
        if not self._status.degrade("compacted", problem):
            return
        if problem is None:
            log.info("no incoming topic is compacted any more")
        else:
            log.error("incoming topics are compacted, messages may be missing", topics=names)

"""The doctor's questions to Kafka; it joins no group and commits nothing."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, for_code

from credit_contracts.topics import TOPICS
from credit_service.application import ports
from credit_service.application.doctor.facts import (
    Bounds,
    ClusterFacts,
    Denied,
    MemberFacts,
    Missed,
    TopicFacts,
    Unreachable,
    Unread,
)
from credit_service.application.ports import Positions
from credit_service.kafka.access.foreign_members import group_of
from credit_service.kafka.access.probe import inspect, require
from credit_service.kafka.access.topic_ids import topic_ids
from credit_service.kafka.connect.acls import named, required_acls
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import REFUSALS, describe
from credit_service.kafka.ranges.ranges import range_reader

ALLOW = (
    "see the login (CREDITS_KAFKA_SASL_…, CREDITS_KAFKA_OAUTH_…), and what it needs: `credits topics acls --for doctor`"
)
ANSWER_SECONDS_MAX = 15
REQUEST_SECONDS_MAX = 10
COORDINATOR_POLL_SECONDS = 0.2
"""A broker creates its offsets topic at the first request for a group, and has no coordinator until then."""


class KafkaExamination:
    """The application's `KafkaFacts`."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection

    async def cluster(self) -> ClusterFacts:
        """See `application.doctor.facts.KafkaFacts`."""
        known = [*(self._connection.topic(contract.name) for contract in TOPICS), self._connection.cursor_topic]
        with _unreachable():
            await require(self._connection, required_acls(self._connection, "doctor"))
        async with self._admin() as admin:
            brokers = (await admin.describe_cluster())["brokers"]
            # All of them: a request by name would have some brokers create a missing topic.
            found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
            there = [name for name in known if name in found]
            settings = await _settings(admin, there)
        topics = {
            name: TopicFacts(
                len(found[name]),
                min(len(partition["replicas"]) for partition in found[name]),
                min(len(partition["isr"]) for partition in found[name]),
                settings[name],
            )
            for name in there
        }
        return ClusterFacts(len(brokers), topics)

    async def missed_by_service(self) -> Missed:
        """See `application.doctor.facts.KafkaFacts`."""
        with _unreachable():
            report = await inspect(self._connection, required_acls(self._connection, "serve"))
        return Missed(named(report.refused) if report.refused else None, report.lacking)

    async def members(self) -> list[MemberFacts]:
        """See `application.doctor.facts.KafkaFacts`."""
        async with self._admin() as admin:
            coordinator = await self._coordinator(admin)
            (answer,) = await admin.describe_consumer_groups([self._connection.group_id], coordinator)
        ((_, _, state, _, _, members, *_),) = answer.groups
        found = group_of(self._connection, state, members).members
        return [MemberFacts(one.client_id, one.host, len(one.partitions), one.is_ours) for one in found]

    async def topic_ids(self) -> Mapping[str, UUID]:
        """See `application.doctor.facts.KafkaFacts`."""
        with _unreachable():
            return await topic_ids(self._connection, self._connection.incoming_topics)

    async def committed(self) -> Positions:
        """See `application.doctor.facts.KafkaFacts`."""
        async with self._admin() as admin:
            coordinator = await self._coordinator(admin)
            found = await admin.list_consumer_group_offsets(self._connection.group_id, coordinator)
        return {(at.topic, at.partition): committed.offset for at, committed in found.items() if committed.offset >= 0}

    async def bounds(self, partitions: Collection[ports.TopicPartition]) -> Mapping[ports.TopicPartition, Bounds]:
        """See `application.doctor.facts.KafkaFacts`."""
        requested = [TopicPartition(*partition) for partition in partitions]
        with _unreachable():
            async with (
                range_reader(self._connection) as reader,
                range_reader(self._connection, "read_uncommitted") as of_all,
            ):
                first, end = await reader.bounds(requested)
                _, written = await of_all.bounds(requested)
        return {(at.topic, at.partition): Bounds(first[at], end[at], written[at]) for at in requested}

    async def unreadable(self, positions: Positions) -> Mapping[ports.TopicPartition, Unread]:
        """See `application.doctor.facts.KafkaFacts`."""
        with _unreachable():
            async with range_reader(self._connection) as reader:
                faults = await reader.faults_at(positions)
        return {at: Unread(fault.offset, fault.until, fault.cause) for at, fault in faults.items()}

    async def _coordinator(self, admin: Any) -> int:
        while True:
            try:
                coordinator: int = await admin.find_coordinator(self._connection.group_id)
            except GroupCoordinatorNotAvailableError:
                await asyncio.sleep(COORDINATOR_POLL_SECONDS)
            else:
                return coordinator

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin = create_client(
            AIOKafkaAdminClient,
            self._connection,
            client_id=f"{self._connection.group_id}-doctor",
            request_timeout_ms=REQUEST_SECONDS_MAX * 1000,
        )
        with _unreachable():
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                try:
                    await admin.start()
                    yield admin
                finally:
                    await admin.close()


async def _settings(admin: Any, names: Collection[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for error_code, _, _, name, entries in answer.resources:
            if error_code:
                raise for_code(error_code)
            found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


@contextmanager
def _unreachable() -> Iterator[None]:
    try:
        yield
    except REFUSALS as error:
        raise Denied(describe(error), ALLOW) from None
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(describe(error)) from None

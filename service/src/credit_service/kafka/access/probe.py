"""Requests from brokers what this deployment may do, and which topics and groups there are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.coordination import FindCoordinatorRequest

from credit_service.kafka.access.foreign_members import Group, group_of
from credit_service.kafka.access.requests import NO_ID, GroupsRequest, TopicsRequest
from credit_service.kafka.access.transactions import is_passing, not_coordinated, unknown_to
from credit_service.kafka.connect.acls import Acl, Operation
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, RefusedByKafka, connection_error, not_allowed
from credit_service.kafka.connect.reauthentication import connect

LOOK_SECONDS_MAX = 20
REQUEST_SECONDS_MAX = 5
ONE_OF_SEVERAL_SECONDS_MAX = 3
"""Shorter, so that a silent server leaves time for the others."""
CLOSE_SECONDS_MAX = 1
GROUP, TRANSACTION = 0, 1
BITS: dict[Operation, int] = {"read": 3, "write": 4, "create": 5, "describe": 8, "describe-configs": 10}
GROUP_REFUSED, TRANSACTION_REFUSED = 30, 53
NO_LEADER = -1
UNREPORTED = -(2**31)
"""The value of a broker that does not report what is allowed."""


@dataclass(slots=True)
class AccessReport:
    """The partition counts of the topics that exist, those with a partition without a leader, and missing rights.

    `uncoordinated` are the groups and transactional ids whose coordinator is not available. `topic_ids` are those that
    the broker knows; `groups` are those whose coordinator answered. `lacking` is a line if the broker has no
    transactions and one is needed.
    """

    partitions: dict[str, int] = field(default_factory=dict)
    leaderless: list[str] = field(default_factory=list)
    refused: list[Acl] = field(default_factory=list)
    uncoordinated: list[str] = field(default_factory=list)
    topic_ids: dict[str, UUID] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    lacking: str | None = None


async def inspect(connection: KafkaConnection, needed: Collection[Acl]) -> AccessReport:
    """Checks the `needed` rights, and changes nothing.

    Raises `RefusedByKafka` if a broker refuses the login, and `BrokerUnavailable` if none answers.
    """
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX), _any_broker(connection) as broker:
            report = await _topics(broker, needed)
            if any(right.kind == "transactional-id" for right in needed):
                report.lacking = unknown_to(broker._versions, f"Kafka at {broker.host}:{broker.port}")
            for right in needed:
                # A broker without transactions may close the connection when their coordinator is requested.
                if right.kind == "group" or (right.kind == "transactional-id" and not report.lacking):
                    await _ask_coordinator(connection, broker, right, report)
    except TimeoutError:
        raise BrokerUnavailable(f"no answer within {LOOK_SECONDS_MAX} s") from None
    return report


async def require(connection: KafkaConnection, needed: Collection[Acl]) -> dict[str, int]:
    """The partition counts of the topics among `needed`.

    Raises `RefusedByKafka` with all missing rights, or if transactions are needed and the broker has none.
    """
    report = await inspect(connection, needed)
    if report.lacking:
        raise RefusedByKafka(report.lacking)
    if report.refused:
        raise not_allowed(report.refused)
    return report.partitions


async def _topics(broker: Any, needed: Collection[Acl]) -> AccessReport:
    requested = [right for right in needed if right.kind == "topic"]
    answer = await broker.send(TopicsRequest(list(dict.fromkeys(right.name for right in requested))))
    report, allowed = AccessReport(), {}
    for error_code, name, *ids, _, partitions, operations in map(_without_tags, answer.topics):
        is_hidden = for_code(error_code) is TopicAuthorizationFailedError
        # Of a missing topic a broker reports no operations.
        allowed[name] = 0 if is_hidden else UNREPORTED if error_code else operations
        if not error_code:
            report.partitions[name] = len(partitions)
            report.topic_ids.update((name, topic_id) for topic_id in ids if topic_id != NO_ID)
            if any(leader == NO_LEADER for _, _, leader, *_ in partitions):
                report.leaderless.append(name)
    report.refused.extend(
        right for right in requested if not _may(allowed.get(right.name, UNREPORTED), right.operation)
    )
    return report


def _without_tags(topic: tuple[Any, ...]) -> tuple[Any, ...]:
    """A topic of the version with ids ends with tagged fields, which are dropped."""
    return topic[:-1] if isinstance(topic[-1], dict) else topic


def _may(operations: int, operation: Operation) -> bool:
    return operations == UNREPORTED or bool(operations >> BITS[operation] & 1)


async def _ask_coordinator(connection: KafkaConnection, broker: Any, right: Acl, report: AccessReport) -> None:
    kind = GROUP if right.kind == "group" else TRANSACTION
    found = await broker.send(FindCoordinatorRequest(right.name, kind))
    error_code, operations = found.error_code, UNREPORTED
    if not error_code and kind == GROUP:
        async with _broker(connection, found.host, found.port) as coordinator:
            answer = await coordinator.send(GroupsRequest([right.name]))
        (error_code, _, state, _, _, members, operations), *_ = answer.groups
        if not error_code:
            report.groups[right.name] = group_of(connection, state, members)
    if error_code in (GROUP_REFUSED, TRANSACTION_REFUSED) or (not error_code and not _may(operations, right.operation)):
        report.refused.append(right)
    elif error_code and kind == TRANSACTION and not is_passing(for_code(error_code)):
        report.lacking = not_coordinated(for_code(error_code), f"Kafka at {broker.host}:{broker.port}")
    elif error_code:
        # A broker that has just started has no coordinator yet, or the coordinator is loading.
        report.uncoordinated.append(right.name)


@asynccontextmanager
async def group_coordinator(connection: KafkaConnection) -> AsyncIterator[Any]:
    """The coordinator of the service's group; raises `RefusedByKafka` and `BrokerUnavailable`."""
    async with _any_broker(connection) as broker:
        found = await broker.send(FindCoordinatorRequest(connection.group_id, GROUP))
    if found.error_code:
        raise BrokerUnavailable(f"the group has no coordinator: {for_code(found.error_code).__name__}")
    async with _broker(connection, found.host, found.port) as coordinator:
        yield coordinator


@asynccontextmanager
async def _any_broker(connection: KafkaConnection) -> AsyncIterator[Any]:
    """The first broker that answers; if none does, a refusal is raised rather than a silence."""
    errors: list[BrokerUnavailable] = []
    seconds = ONE_OF_SEVERAL_SECONDS_MAX if len(connection.servers) > 1 else REQUEST_SECONDS_MAX
    for server in connection.servers:
        host, _, port = server.rpartition(":")
        try:
            conn = await _connected(connection, host.strip("[]"), int(port), seconds)
        except BrokerUnavailable as error:
            errors.append(error)
            continue
        async with _closing(connection, conn):
            yield conn
        return
    raise next((error for error in errors if isinstance(error, RefusedByKafka)), errors[0])


@asynccontextmanager
async def _broker(connection: KafkaConnection, host: str, port: int) -> AsyncIterator[Any]:
    conn = await _connected(connection, host, port)
    async with _closing(connection, conn):
        yield conn


async def _connected(
    connection: KafkaConnection, host: str, port: int, answer_seconds_max: int = REQUEST_SECONDS_MAX
) -> Any:
    try:
        return await connect(connection, host, port, answer_seconds_max * 1000)
    except (KafkaError, OSError, EOFError, TimeoutError) as error:
        raise connection_error(error, connection, host, port) from None


@asynccontextmanager
async def _closing(connection: KafkaConnection, conn: Any) -> AsyncIterator[None]:
    try:
        yield
    except BrokerUnavailable:
        raise
    except (KafkaError, OSError, EOFError) as error:
        raise connection_error(error, connection, conn.host, conn.port) from None
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await conn.close()

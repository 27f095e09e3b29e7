"""What Kafka lets this deployment do: asked of the broker itself, which knows, and does not have to be tried."""

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
from credit_service.kafka.connect.errors import BrokerUnavailable, Refused, connection_error, not_allowed
from credit_service.kafka.connect.reauthentication import connect

LOOK_SECONDS_MAX = 20
REQUEST_SECONDS_MAX = 5
ONE_OF_SEVERAL_SECONDS_MAX = 3
"""So that a server that is silent leaves time for the others."""
CLOSE_SECONDS_MAX = 1
GROUP, TRANSACTION = 0, 1
BITS: dict[Operation, int] = {"read": 3, "write": 4, "create": 5, "describe": 8, "describe-configs": 10}
GROUP_REFUSED, TRANSACTION_REFUSED = 30, 53
NO_LEADER = -1
NOT_TOLD = -(2**31)
"""A broker that says nothing of what is allowed."""


@dataclass(slots=True)
class AccessReport:
    """The partition counts of topics that are there, those with a partition that nobody leads, and missing rights.

    `uncoordinated` names groups and transactional ids whose coordinator did not say that it is well. `topic_ids` are
    those of topics that are there, where the broker knows them; `groups` are those whose coordinator answered.
    `lacking` says, in a line, that the broker has no transactions, if one was asked for.
    """

    partitions: dict[str, int] = field(default_factory=dict)
    leaderless: list[str] = field(default_factory=list)
    refused: list[Acl] = field(default_factory=list)
    uncoordinated: list[str] = field(default_factory=list)
    topic_ids: dict[str, UUID] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    lacking: str | None = None


async def inspect(connection: KafkaConnection, needed: Collection[Acl]) -> AccessReport:
    """What there is and what is missing of the `needed` rights; changes nothing.

    Raises `Refused` for a broker that does not let us in, and `BrokerUnavailable` for one that does not answer.
    """
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX), _any_broker(connection) as broker:
            seen = await _topics(broker, needed)
            if any(right.kind == "transactional-id" for right in needed):
                seen.lacking = unknown_to(broker._versions, f"Kafka at {broker.host}:{broker.port}")
            for right in needed:
                # One that does not know transactions may hang up on who asks for their coordinator.
                if right.kind == "group" or (right.kind == "transactional-id" and not seen.lacking):
                    await _ask_coordinator(connection, broker, right, seen)
    except TimeoutError:
        raise BrokerUnavailable(f"no answer within {LOOK_SECONDS_MAX} s") from None
    return seen


async def require(connection: KafkaConnection, needed: Collection[Acl]) -> dict[str, int]:
    """The partition counts of the topics among `needed`; raises `Refused` with all rights that are missing.

    So it does where there are no transactions, if one is needed.
    """
    seen = await inspect(connection, needed)
    if seen.lacking:
        raise Refused(seen.lacking)
    if seen.refused:
        raise not_allowed(seen.refused)
    return seen.partitions


async def _topics(broker: Any, needed: Collection[Acl]) -> AccessReport:
    asked = [right for right in needed if right.kind == "topic"]
    answer = await broker.send(TopicsRequest(list(dict.fromkeys(right.name for right in asked))))
    seen, allowed = AccessReport(), {}
    for error_code, name, *ids, _, partitions, operations in map(_without_tags, answer.topics):
        is_hidden = for_code(error_code) is TopicAuthorizationFailedError
        # Of a topic that is not there, nothing is told.
        allowed[name] = 0 if is_hidden else NOT_TOLD if error_code else operations
        if not error_code:
            seen.partitions[name] = len(partitions)
            seen.topic_ids.update((name, topic_id) for topic_id in ids if topic_id != NO_ID)
            if any(leader == NO_LEADER for _, _, leader, *_ in partitions):
                seen.leaderless.append(name)
    seen.refused.extend(right for right in asked if not _may(allowed.get(right.name, NOT_TOLD), right.operation))
    return seen


def _without_tags(topic: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fields that a later version may add stand at the end of one that has ids."""
    return topic[:-1] if isinstance(topic[-1], dict) else topic


def _may(operations: int, operation: Operation) -> bool:
    return operations == NOT_TOLD or bool(operations >> BITS[operation] & 1)


async def _ask_coordinator(connection: KafkaConnection, broker: Any, right: Acl, seen: AccessReport) -> None:
    kind = GROUP if right.kind == "group" else TRANSACTION
    found = await broker.send(FindCoordinatorRequest(right.name, kind))
    error_code, operations = found.error_code, NOT_TOLD
    if not error_code and kind == GROUP:
        async with _broker(connection, found.host, found.port) as coordinator:
            answer = await coordinator.send(GroupsRequest([right.name]))
        (error_code, _, state, _, _, members, operations), *_ = answer.groups
        if not error_code:
            seen.groups[right.name] = group_of(connection, state, members)
    if error_code in (GROUP_REFUSED, TRANSACTION_REFUSED) or (not error_code and not _may(operations, right.operation)):
        seen.refused.append(right)
    elif error_code and kind == TRANSACTION and not is_passing(for_code(error_code)):
        seen.lacking = not_coordinated(for_code(error_code), f"Kafka at {broker.host}:{broker.port}")
    elif error_code:
        # A broker that has just started has no coordinator yet, or one that still loads.
        seen.uncoordinated.append(right.name)


@asynccontextmanager
async def group_coordinator(connection: KafkaConnection) -> AsyncIterator[Any]:
    """The broker that looks after the service's group; raises `Refused` and `BrokerUnavailable`."""
    async with _any_broker(connection) as broker:
        found = await broker.send(FindCoordinatorRequest(connection.group_id, GROUP))
    if found.error_code:
        raise BrokerUnavailable(f"the group has no coordinator: {for_code(found.error_code).__name__}")
    async with _broker(connection, found.host, found.port) as coordinator:
        yield coordinator


@asynccontextmanager
async def _any_broker(connection: KafkaConnection) -> AsyncIterator[Any]:
    """The first that answers; a refusal of one of them says more than the silence of another."""
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
    raise next((error for error in errors if isinstance(error, Refused)), errors[0])


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

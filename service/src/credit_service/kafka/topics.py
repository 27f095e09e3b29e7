"""The topics of a deployment: created as in the contracts, and checked at the start."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from credit_contracts.topics import TOPICS
from credit_service.kafka.access.probe import inspect, require
from credit_service.kafka.connect.acls import Operation, on_topics, required_acls
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, describe, not_allowed

ANSWER_SECONDS_MAX = 20
REQUEST_SECONDS_MAX = 10
SEEN_POLL_SECONDS = 0.05
BROKERS_DEFAULT = -1
"""The replication factor that leaves the choice to the broker's `default.replication.factor`."""


class TopicsRefused(Exception):  # noqa: N818
    """The broker did not create a topic; the message is its reason."""


@dataclass(frozen=True, slots=True)
class CreatedTopic:
    """A topic of this deployment; `created` is false if it existed before."""

    name: str
    created: bool


async def create_topics(connection: KafkaConnection, replication_factor: int | None) -> list[CreatedTopic]:
    """Creates the missing topics, and changes no other.

    `replication_factor` None is the broker's default. Raises `TopicsRefused` and `BrokerUnavailable`.
    """
    wanted = _wanted(connection, replication_factor or BROKERS_DEFAULT)
    await require(connection, on_topics([topic.name for topic in wanted], "describe"))
    async with _admin(connection) as admin:
        answer = await admin.create_topics(wanted, timeout_ms=REQUEST_SECONDS_MAX * 1000)
        await _until_seen(connection, [name for name, code, _ in answer.topic_errors if code == 0])
    topics: list[CreatedTopic] = []
    refused: dict[str, list[str]] = {}
    if denied := [name for name, code, _ in answer.topic_errors if for_code(code) is TopicAuthorizationFailedError]:
        raise not_allowed(on_topics(denied, "create"))
    for name, code, message in answer.topic_errors:
        if code == 0 or for_code(code) is TopicAlreadyExistsError:
            topics.append(CreatedTopic(name, created=code == 0))
        else:
            refused.setdefault(message or for_code(code).__name__, []).append(name)
    if refused:
        raise TopicsRefused("; ".join(f"{', '.join(names)}: {reason}" for reason, names in refused.items()))
    return topics


async def missing_or_uneven(connection: KafkaConnection) -> str | None:
    """A sentence if topics are missing or uneven, or None; raises `RefusedByKafka` and `BrokerUnavailable`."""
    counts = await require(connection, required_acls(connection, "serve"))
    needed = [*(connection.topic(contract.name) for contract in TOPICS), connection.cursor_topic]
    if missing := [name for name in needed if name not in counts]:
        return f"topics are missing: {', '.join(missing)}; run `credits topics create`"
    incoming = {name: counts[name] for name in connection.incoming_topics}
    if len(set(incoming.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in incoming.items())
        return f"incoming topics have unequal partition counts: {listed}"
    if counts[connection.cursor_topic] != 1:
        return f"{connection.cursor_topic} has {counts[connection.cursor_topic]} partitions and must have 1"
    return None


async def partition_counts(
    connection: KafkaConnection, topics: Collection[str], operation: Operation = "describe"
) -> dict[str, int]:
    """The partition counts of those `topics` that exist; raises `RefusedByKafka` if `operation` is not allowed."""
    return await require(connection, on_topics(topics, operation))


async def _until_seen(connection: KafkaConnection, names: list[str]) -> None:
    """Returns when the brokers report the topics, which the controller has a moment earlier."""
    needed = on_topics(names, "describe")
    while not set(names) <= (await inspect(connection, needed)).partitions.keys():  # noqa: ASYNC110 - no event reports it
        await asyncio.sleep(SEEN_POLL_SECONDS)


def _wanted(connection: KafkaConnection, replication_factor: int) -> list[NewTopic]:
    def topic(name: str, partitions: int, configs: dict[str, str]) -> NewTopic:
        # Without the empty assignment aiokafka does not let the broker choose the factor.
        assignment: dict[int, list[int]] | None = {} if replication_factor == BROKERS_DEFAULT else None
        return NewTopic(name, partitions, replication_factor, assignment, configs)

    contracts = [
        topic(
            connection.topic(contract.name),
            contract.partitions,
            {
                "retention.ms": str(contract.retention_ms),
                "cleanup.policy": contract.cleanup_policy,
                "max.message.bytes": str(contract.max_message_bytes),
            }
            | ({"message.timestamp.type": contract.timestamp_type} if contract.timestamp_type else {}),
        )
        for contract in TOPICS
    ]
    return [*contracts, topic(connection.cursor_topic, 1, {"cleanup.policy": "compact"})]


@asynccontextmanager
async def _admin(connection: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = create_client(
        AIOKafkaAdminClient,
        connection,
        client_id=f"{connection.group_id}-topics",
        request_timeout_ms=REQUEST_SECONDS_MAX * 1000,
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            try:
                await admin.start()
                yield admin
            finally:
                await admin.close()
    except BrokerUnavailable:
        raise
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerUnavailable(describe(error)) from None

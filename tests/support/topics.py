"""The topics of one test, and changes to Kafka beyond sending and reading."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import LeaveGroupRequest

from credit_contracts.topics import TOPICS
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

PARTITIONS = 3
CURSOR_TOPIC = "credit-service-relay-cursor"

_REQUEST_MS_MAX = 10_000


@asynccontextmanager
async def admin(kafka: str) -> AsyncIterator[Any]:
    """An admin client for as long as this lasts."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka, request_timeout_ms=_REQUEST_MS_MAX)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def make_topics(
    kafka: str,
    prefix: str,
    *,
    partitions: int = PARTITIONS,
    max_message_bytes: int | None = None,
    but: Collection[str] = (),
) -> None:
    """Makes all topics of a deployment `but` some; fewer partitions than the contracts say are quicker."""
    configs = {} if max_message_bytes is None else {"max.message.bytes": str(max_message_bytes)}
    topics = [
        NewTopic(prefix + contract.name, partitions, 1, topic_configs=configs)
        for contract in TOPICS
        if contract.name not in but
    ]
    async with admin(kafka) as client:
        answer = await client.create_topics([*topics, NewTopic(prefix + CURSOR_TOPIC, 1, 1)])
    problems = [error for error in answer.topic_errors if error[1]]
    assert not problems, problems


async def remove_topics(kafka: str, names: list[str]) -> None:
    """Removes topics, and waits until brokers do not tell of them any more."""
    async with admin(kafka) as client:
        await client.delete_topics(names)
        await eventually(lambda: _are_told(client, dict.fromkeys(names, 0)))


async def set_topic(kafka: str, name: str, settings: Mapping[str, str]) -> None:
    """Gives a topic these settings, and the broker's own for all others."""
    async with admin(kafka) as client:
        for answer in await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, dict(settings))]):
            assert not answer.resources[0][0], answer


async def make_topic(kafka: str, name: str, *, partitions: int = PARTITIONS) -> None:
    """Makes a topic, and waits until brokers tell of it."""
    async with admin(kafka) as client:
        answer = await client.create_topics([NewTopic(name, partitions, 1)])
        assert not answer.topic_errors[0][1], answer
        await eventually(lambda: _are_told(client, {name: partitions}))


async def add_partitions(kafka: str, names: Collection[str], count: int) -> None:
    """Gives each topic so many, and waits until brokers tell of them: a client that is told of fewer does not ask again
    for minutes.
    """
    async with admin(kafka) as client:
        await client.create_partitions({name: NewPartitions(count) for name in names})
        await eventually(lambda: _are_told(client, dict.fromkeys(names, count)))


async def _are_told(client: Any, counts: Mapping[str, int]) -> bool:
    """Whether the broker tells of so many partitions of each topic, each with a leader."""
    topics = {topic["topic"]: topic["partitions"] for topic in await client.describe_topics(list(counts))}
    return all(
        len(topics[name]) == count and all(partition["leader"] >= 0 for partition in topics[name])
        for name, count in counts.items()
    )


async def topics_of(kafka: str, prefix: str) -> list[str]:
    """The names of those topics that a deployment has."""
    async with admin(kafka) as client:
        return [name for name in await client.list_topics() if name.startswith(prefix)]


async def delete_records(kafka: str, before: dict[tuple[str, int], int]) -> None:
    """Lets the log of each partition begin at the given offset, as retention does."""
    async with admin(kafka) as client:
        await client.delete_records(
            {TopicPartition(*place): RecordsToDelete(before_offset=offset) for place, offset in before.items()}
        )


async def group_members(kafka: str, group: str) -> set[str]:
    """The ids of the members that the broker believes to be alive."""
    async with admin(kafka) as client:
        return await _members(client, group)


async def expire_members(kafka: str, group: str) -> None:
    """Takes all members out of the group now, as the broker does once their sessions have run out."""
    async with admin(kafka) as client:
        for member in await _members(client, group):
            await client._send_request(LeaveGroupRequest(group, member))


async def _members(client: Any, group: str) -> set[str]:
    async def has_coordinator() -> bool:
        return not (await client._send_request(FindCoordinatorRequest(group, 0))).error_code

    await eventually(has_coordinator, what="a coordinator; the broker makes its own topic of offsets at first use")
    (answer,) = await client.describe_consumer_groups([group])
    return {member[0] for _, _, _, _, _, members, *_ in answer.groups for member in members}

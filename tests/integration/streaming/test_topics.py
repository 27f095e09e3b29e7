from __future__ import annotations

import socket

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from credit_contracts.topics import INCOMING_TOPICS, TOPICS
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable
from credit_service.kafka.topics import (
    TopicsRefused,
    create_topics,
    missing_or_uneven,
    partition_counts,
)
from support.topics import topics_of
from support.wait import eventually


@pytest.fixture
def connection(kafka: str, topic_prefix: str) -> KafkaConnection:
    return KafkaConnection(kafka, "tests", topic_prefix)


async def make(connection: KafkaConnection, counts: dict[str, int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap_servers)
    try:
        await admin.start()
        await admin.create_topics([NewTopic(name, partitions, 1) for name, partitions in counts.items()])
    finally:
        await admin.close()
    await eventually(lambda: _are_seen(connection, set(counts)), what="topics are seen")


async def _are_seen(connection: KafkaConnection, names: set[str]) -> bool:
    return names <= (await partition_counts(connection, names)).keys()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def test_topics_are_made_as_the_contracts_say(connection: KafkaConnection) -> None:
    made = await create_topics(connection, None)
    names = [connection.topic(contract.name) for contract in TOPICS]
    assert {topic.name for topic in made if topic.created} == {*names, connection.cursor_topic}
    counts = await partition_counts(connection, [*names, connection.cursor_topic])
    assert [counts[name] for name in names] == [contract.partitions for contract in TOPICS]
    assert counts[connection.cursor_topic] == 1
    configs = await configs_of(connection, names)
    for contract, name in zip(TOPICS, names, strict=True):
        assert configs[name]["retention.ms"] == str(contract.retention_ms)
        assert configs[name]["cleanup.policy"] == contract.cleanup_policy
        assert configs[name]["max.message.bytes"] == str(contract.max_message_bytes)
        is_incoming = contract.direction == "in"
        assert configs[name]["message.timestamp.type"] == ("LogAppendTime" if is_incoming else "CreateTime")


async def configs_of(connection: KafkaConnection, names: list[str]) -> dict[str, dict[str, str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap_servers)
    try:
        await admin.start()
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    finally:
        await admin.close()
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for _, _, _, name, entries in answer.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def test_making_them_again_changes_nothing(connection: KafkaConnection) -> None:
    await create_topics(connection, 1)
    again = await create_topics(connection, 1)
    assert [topic for topic in again if topic.created] == []
    assert len(again) == len(TOPICS) + 1


async def test_only_what_is_missing_is_made(connection: KafkaConnection) -> None:
    name = connection.topic(INCOMING_TOPICS[0])
    await make(connection, {name: 3})
    made = await create_topics(connection, None)
    assert [topic.name for topic in made if not topic.created] == [name]
    assert (await partition_counts(connection, [name]))[name] == 3


async def test_what_the_broker_refuses_is_told_in_its_words(connection: KafkaConnection) -> None:
    with pytest.raises(TopicsRefused, match="replication factor of 7"):
        await create_topics(connection, 7)


async def test_missing_topics_are_named(connection: KafkaConnection) -> None:
    problem = await missing_or_uneven(connection)
    assert problem is not None
    for contract in TOPICS:
        assert connection.topic(contract.name) in problem
    assert connection.cursor_topic in problem
    assert "credits topics create" in problem


async def test_asking_makes_no_topic(connection: KafkaConnection) -> None:
    await missing_or_uneven(connection)
    assert await topics_of(connection.bootstrap_servers, connection.topic_prefix) == []


async def test_unequal_counts_of_incoming_topics_are_told_with_their_counts(connection: KafkaConnection) -> None:
    uneven = connection.topic(INCOMING_TOPICS[1])
    await make(connection, {uneven: 3})
    await create_topics(connection, None)
    problem = await missing_or_uneven(connection)
    assert problem is not None
    assert "unequal" in problem
    assert f"{uneven} 3" in problem
    assert f"{connection.topic(INCOMING_TOPICS[0])} 12" in problem


async def test_a_cursor_of_several_partitions_is_told(connection: KafkaConnection) -> None:
    await make(connection, {connection.cursor_topic: 2})
    await create_topics(connection, None)
    assert await missing_or_uneven(connection) == f"{connection.cursor_topic} has 2 partitions and must have 1"


async def test_all_is_well_with_what_was_made(connection: KafkaConnection) -> None:
    await create_topics(connection, None)
    assert await missing_or_uneven(connection) is None


async def test_a_broker_that_is_not_there_is_told_soon() -> None:
    nowhere = KafkaConnection(f"127.0.0.1:{free_port()}", "tests")
    with pytest.raises(BrokerUnavailable):
        await missing_or_uneven(nowhere)

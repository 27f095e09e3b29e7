import pytest
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped, unused-ignore]
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from credit_contracts import DEAD_LETTER_TOPIC, INCOMING, INCOMING_TOPICS, OUTGOING, OUTGOING_TOPICS, TOPICS
from credit_contracts.topics import murmur2, partition_for

DAY_MS = 24 * 60 * 60 * 1000


# From the Java client's own test of its hash, there as signed integers.
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hash_is_the_java_clients(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@given(key=st.binary(max_size=300))
def test_hash_is_aiokafkas(key: bytes) -> None:
    assert murmur2(key) == aiokafka_murmur2(key)


@given(key=st.binary(), partitions=st.integers(1, 200))
def test_partition_is_the_one_aiokafka_chooses(key: bytes, partitions: int) -> None:
    every = list(range(partitions))
    assert partition_for(key, partitions) == DefaultPartitioner()(key, every, every)


def test_topics_are_the_types_and_the_dead_letters() -> None:
    assert INCOMING_TOPICS == (
        "prospect-generated",
        "prospect-exported",
        "email-bounced",
        "plan-changed",
        "credits-purchased",
        "prospect-imported",
        "prospect-transferred",
        "prospect-stage-changed",
        "prospect-deleted",
    )
    assert OUTGOING_TOPICS == ("balance-changed", "insufficient-credits")
    assert [topic.name for topic in TOPICS] == [*INCOMING, *OUTGOING, DEAD_LETTER_TOPIC]
    assert [topic.model for topic in TOPICS] == [*INCOMING.values(), *OUTGOING.values(), None]


def test_incoming_topics_share_one_partition_count() -> None:
    assert {topic.partitions for topic in TOPICS if topic.direction == "in"} == {12}


def test_dead_letters_outlive_what_they_came_from() -> None:
    days = {topic.name: topic.retention_ms // DAY_MS for topic in TOPICS}
    assert days.pop(DEAD_LETTER_TOPIC) == 90
    assert set(days.values()) == {30}


def test_every_topic_says_who_writes_and_who_reads_it() -> None:
    assert all(topic.description and topic.producers and topic.consumers and topic.ordering for topic in TOPICS)

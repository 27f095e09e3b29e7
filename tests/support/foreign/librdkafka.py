"""Messages of a producer that uses librdkafka, with and without transactions; and a consumer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, Producer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from confluent_kafka import Message

    from credit_contracts.envelope import Headers

_SECONDS_MAX = 30

Sent = tuple[str, int, bytes | None, bytes, "Headers"]
"""Topic, partition, key, value, headers."""

MURMUR2 = -1
"""The partition that keys of Java's and aiokafka's clients go to."""


def send(kafka: str, codec: str, records: Iterable[Sent]) -> None:
    """Sends them, packed with that codec; returns once the broker has them."""
    producer = _producer(kafka, {"compression.type": codec, "linger.ms": 50, "partitioner": "murmur2_random"})
    _produce(producer, records)
    assert producer.flush(_SECONDS_MAX) == 0


@contextmanager
def open_transaction(kafka: str, name: str, records: Iterable[Sent], *, commits: bool = False) -> Iterator[None]:
    """A transaction with these that stays open while the context is, and is aborted or committed then.

    Another one of this name ends it, too, however it was left.
    """
    producer = _transactional(kafka, name)
    producer.begin_transaction()
    _produce(producer, records)
    assert producer.flush(_SECONDS_MAX) == 0
    yield
    if commits:
        producer.commit_transaction(_SECONDS_MAX)
    else:
        producer.abort_transaction(_SECONDS_MAX)


def leave_open(kafka: str, name: str, records: Iterable[Sent], timeout_ms: int) -> None:
    """A transaction with these whose producer goes away; the broker aborts it some time after `timeout_ms`."""
    producer = _transactional(kafka, name, timeout_ms)
    producer.begin_transaction()
    _produce(producer, records)
    assert producer.flush(_SECONDS_MAX) == 0


def abort_transactions(kafka: str, name: str, record: Sent, times: int) -> None:
    """So many transactions, one after the other, each with this record, each aborted."""
    producer = _transactional(kafka, name)
    for _ in range(times):
        producer.begin_transaction()
        _produce(producer, [record])
        producer.flush(_SECONDS_MAX)
        producer.abort_transaction(_SECONDS_MAX)


def read(kafka: str, topic: str, partition: int, count: int, *, isolation: str = "read_committed") -> list[Message]:
    """The first `count` messages of the partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "foreign",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": isolation,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        found: list[Message] = []
        while len(found) < count:
            message = consumer.poll(_SECONDS_MAX)
            assert message is not None, f"{len(found)} of {count} came"
            assert message.error() is None, message.error()
            found.append(message)
    finally:
        consumer.close()
    return found


def _produce(producer: Producer, records: Iterable[Sent]) -> None:
    for topic, partition, key, value, headers in records:
        producer.produce(topic, value, key, partition, headers=[*headers])


def _transactional(kafka: str, name: str, timeout_ms: int = 600_000) -> Producer:
    producer = _producer(kafka, {"transactional.id": name, "linger.ms": 0, "transaction.timeout.ms": timeout_ms})
    producer.init_transactions(_SECONDS_MAX)
    return producer


def _producer(kafka: str, settings: dict[str, str | int]) -> Producer:
    # It would say twice a second that a broker is away.
    return Producer({"bootstrap.servers": kafka, "log_level": 0, **settings})

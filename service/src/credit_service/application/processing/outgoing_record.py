"""The Kafka records of outbox rows."""

from dataclasses import dataclass
from hashlib import sha256

from credit_contracts.dead_letters import (
    DETAIL_HEADER,
    HEADERS_BYTES_HEADER,
    HEADERS_SHA256_HEADER,
    KEY_BYTES_HEADER,
    KEY_SHA256_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    PREFIX,
    REASON_HEADER,
    TIME_HEADER,
    TOPIC_HEADER,
    VALUE_BYTES_HEADER,
    VALUE_SHA256_HEADER,
)
from credit_contracts.envelope import binary_headers
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_contracts.times import format_time
from credit_contracts.topics import partition_for
from credit_service import bounds
from credit_service.application.kept_record import Headers
from credit_service.application.partitioning import account_partition
from credit_service.application.ports import WaitingDeadLetter, WaitingEvent
from credit_service.application.record import shown, stands_for_batch
from credit_service.application.tracing import TRACEPARENT

# Kafka writes the lengths of a header's name and value beside them, of at most five bytes each.
HEADER_LENGTHS_BYTES = 10


@dataclass(slots=True)
class OutgoingRecord:
    """A record as it goes to Kafka, in a partition of the topic that the contracts name."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def outgoing_record(waiting: WaitingEvent | WaitingDeadLetter, partitions: int) -> OutgoingRecord:
    """The record of one outbox row, for a topic of so many partitions."""
    if isinstance(waiting, WaitingEvent):
        headers = binary_headers(SERVICE_SOURCE, waiting.event_id, waiting.topic, waiting.event_time)
        if waiting.trace is not None:
            headers.append((TRACEPARENT, waiting.trace.encode()))
        partition = account_partition(waiting.key, partitions)
        return OutgoingRecord(waiting.topic, partition, waiting.key, waiting.payload, headers)
    return _dead_letter(waiting, partitions)


def _dead_letter(letter: WaitingDeadLetter, partitions: int) -> OutgoingRecord:
    """The original bytes and headers, with the place and the reason; parts that are too large have size and hash."""
    headers: list[tuple[str, bytes | None]] = [
        (TOPIC_HEADER, letter.place.topic.encode()),
        (PARTITION_HEADER, b"%d" % letter.place.partition),
        (OFFSET_HEADER, b"%d" % letter.place.offset),
        (REASON_HEADER, letter.reason.encode()),
        (DETAIL_HEADER, letter.detail.encode()),
        (TIME_HEADER, format_time(letter.created_at).encode()),
    ]
    if letter.key_bytes is not None and letter.key_sha256 is not None:
        headers.append((KEY_BYTES_HEADER, b"%d" % letter.key_bytes))
        headers.append((KEY_SHA256_HEADER, letter.key_sha256.encode()))
    if letter.value_bytes is not None and letter.value_sha256 is not None:
        headers.append((VALUE_BYTES_HEADER, b"%d" % letter.value_bytes))
        headers.append((VALUE_SHA256_HEADER, letter.value_sha256.encode()))
    if letter.headers_bytes is not None and letter.headers_sha256 is not None:
        headers.append((HEADERS_BYTES_HEADER, b"%d" % letter.headers_bytes))
        headers.append((HEADERS_SHA256_HEADER, letter.headers_sha256.encode()))
    # No original header has a name of ours: a reader may take the first of a name, or the last.
    original = letter.headers
    if not stands_for_batch(original):
        original = [header for header in original if not header[0].startswith(PREFIX)]
    headers = [*original, *headers]
    key = letter.key
    # Not `account_partition`, which caches keys: these may be large, and are not always accounts.
    partition = letter.place.partition % partitions if key is None else partition_for(key, partitions)
    return OutgoingRecord(letter.topic, partition, key, letter.value, headers)


def published_headers(headers: Headers, kept: str) -> tuple[Headers, int | None, str | None]:
    """The original headers to be published: all, or none with the size and hash of their `kept` text."""
    headers = [(shown(name), value) for name, value in headers]
    if _size_of(headers) <= bounds.ORIGINAL_HEADERS_BYTES_MAX:
        return headers, None, None
    return [], len(kept.encode()), sha256(kept.encode()).hexdigest()


def _size_of(headers: Headers) -> int:
    return sum(len(name.encode()) + len(value or b"") + HEADER_LENGTHS_BYTES for name, value in headers)

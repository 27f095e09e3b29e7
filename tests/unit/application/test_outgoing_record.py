"""A published dead letter fits into Kafka's default message size, whatever the original message was."""

from hashlib import sha256

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder  # type: ignore[import-untyped, unused-ignore]

from credit_contracts.dead_letters import PUBLISHED_KEY_BYTES_MAX, PUBLISHED_VALUE_BYTES_MAX, REASONS, TOPIC_HEADER
from credit_contracts.envelope import DETAIL_CHARACTERS_MAX
from credit_contracts.topics import DEAD_LETTER_TOPIC, MAX_MESSAGE_BYTES
from credit_service import bounds
from credit_service.application.kept_record import Headers
from credit_service.application.ports import WaitingDeadLetter
from credit_service.application.processing.outgoing_record import (
    HEADER_LENGTHS_BYTES,
    OutgoingRecord,
    outgoing_record,
    published_headers,
)
from credit_service.domain.event import Place
from credit_service.domain.grant import NEVER

ROOM = bounds.ORIGINAL_HEADERS_BYTES_MAX - HEADER_LENGTHS_BYTES
TOPIC_CHARACTERS_MAX = 249

LARGEST: dict[str, Headers] = {
    "one value": [("", b"x" * ROOM)],
    "one name": [("é" * (ROOM // 2), None)],
    "many of nothing": [("", None)] * (bounds.ORIGINAL_HEADERS_BYTES_MAX // HEADER_LENGTHS_BYTES),
}


def published(headers: Headers) -> OutgoingRecord:
    """A letter with the largest published key and value, and with the sizes and hashes of larger ones."""
    waiting = WaitingDeadLetter(
        DEAD_LETTER_TOPIC,
        Place("t" * TOPIC_CHARACTERS_MAX, 2**31 - 1, 2**63 - 1),
        max(REASONS, key=len),
        "\U0001f600" * DETAIL_CHARACTERS_MAX,
        NEVER,
        b"k" * PUBLISHED_KEY_BYTES_MAX,
        2**63 - 1,
        "f" * 64,
        b"v" * PUBLISHED_VALUE_BYTES_MAX,
        2**63 - 1,
        "f" * 64,
        headers,
        2**63 - 1,
        "f" * 64,
    )
    return outgoing_record(waiting, 12)


@pytest.mark.parametrize("headers", LARGEST.values(), ids=LARGEST)
def test_the_largest_dead_letter_is_a_batch_that_kafka_takes(headers: Headers) -> None:
    record = published(headers)
    assert record.headers[: len(headers)] == headers
    batch = BatchBuilder(1, 0, is_transactional=1)
    assert batch.append(key=record.key, value=record.value, headers=record.headers, timestamp=None)
    assert len(batch._build()) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize("headers", LARGEST.values(), ids=LARGEST)
def test_original_headers_that_are_larger_are_left_out(headers: Headers) -> None:
    assert published_headers(headers, "kept") == (headers, None, None)
    assert published_headers([*headers, ("", None)], "kept") == ([], 4, sha256(b"kept").hexdigest())


def test_headers_that_look_like_ours_are_left_out() -> None:
    own = published([]).headers
    assert published([(TOPIC_HEADER, b"forged"), ("mine", b"1")]).headers == [("mine", b"1"), *own]

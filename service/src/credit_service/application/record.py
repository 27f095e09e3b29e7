"""One Kafka record, read once: an event, or the reason why it cannot be read."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from credit_contracts.dead_letters import UNTIL_HEADER
from credit_contracts.envelope import Unreadable, decode
from credit_service import bounds
from credit_service.application.kept_record import Headers, Withheld
from credit_service.domain.event import EARLIEST, Incoming, Order, Place
from credit_service.domain.idempotency import content_of, key_of

BEFORE_ALL_TYPES = -1
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999: producers may send any time, and a date cannot be later."""
TOO_LARGE_BATCH = Unreadable("too-large", "batch: it holds too much to be unpacked", None)
NOT_TEXT = Unreadable("bad-header", "headers: a name is not UTF-8", None)
OBJECT_BYTES, OBJECT_BYTES_OF_HEADER = 2_048, 160


@dataclass(slots=True)
class Record:
    """A record with its original bytes, the event read from it, and its order among the records of other topics.

    `size_bytes` is about its size in memory. It covers the offsets from `follows` up to but without `until`: those
    without a record are markers of transactions, aborted records, and records that were compacted away. A record that
    is too large to be held has `withheld` in place of its bytes; only a short key is kept. `is_append_time`: the
    timestamp is the broker's, of when it appended the record.
    """

    place: Place
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    content: Incoming | Unreadable
    order: Order
    size_bytes: int
    follows: int = 0
    until: int = 0
    withheld: Withheld | None = None
    is_append_time: bool = False


def bytes_in_memory(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """About the size of a record in memory, with the event read from it."""
    named = sum(OBJECT_BYTES_OF_HEADER + len(name) + len(content or b"") for name, content in headers)
    return OBJECT_BYTES + len(key or b"") + len(value or b"") + named


def is_text(name: str) -> bool:
    """Whether a header's name, read with `surrogateescape`, was UTF-8."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def shown(name: str) -> str:
    """A header's name in valid UTF-8: other bytes are shown as `\\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def batch_of(place: Place, until: int, packed: bytes, timestamp_ms: int, *, is_append_time: bool = False) -> Record:
    """The record that stands for a whole batch, from its place up to but without `until`."""
    headers: Headers = [(UNTIL_HEADER, b"%d" % until)]
    order = (kafka_time(timestamp_ms), BEFORE_ALL_TYPES, "", "")
    size_bytes = bytes_in_memory(None, packed, headers)
    record = Record(place, None, packed, headers, timestamp_ms, TOO_LARGE_BATCH, order, size_bytes, place.offset, until)
    record.is_append_time = is_append_time
    return record


def is_batch(record: Record) -> bool:
    """Whether it was made by `batch_of`."""
    return isinstance(record.content, Unreadable) and stands_for_batch(record.headers)


def stands_for_batch(headers: Headers) -> bool:
    """Whether the headers are those that `batch_of` gives."""
    return [name for name, _ in headers] == [UNTIL_HEADER]


def kafka_time(timestamp_ms: int) -> datetime:
    """Kafka's time of a record, limited to the years 1970 to 9999."""
    return EARLIEST + timedelta(milliseconds=min(max(0, timestamp_ms), LATEST_MS))


def read_record(
    place: Place,
    event_type: str,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    timestamp_ms: int,
    *,
    is_append_time: bool = False,
) -> Record:
    """Reads one record of the topic for `event_type`; never raises. An unreadable one is ordered by Kafka's time."""
    size_bytes, has_text = len(key or b"") + len(value or b""), True
    for name, part in headers:
        size_bytes += len(name) + len(part or b"")
        has_text = has_text and is_text(name)
    event = decode(headers, value, topic_type=event_type) if has_text else NOT_TEXT
    withheld = None
    if size_bytes > bounds.RECORD_BYTES_MAX:
        withheld = Withheld.of(key, value, headers, bounds.LEFT_OUT_KEY_BYTES_MAX)
        key, value, headers = (key if withheld.key_bytes is None else None), None, []
        size_bytes = len(key or b"")
    size_bytes += OBJECT_BYTES + OBJECT_BYTES_OF_HEADER * len(headers)
    content: Incoming | Unreadable
    if isinstance(event, Unreadable):
        content, order = event, (kafka_time(timestamp_ms), BEFORE_ALL_TYPES, "", "")
    else:
        content = Incoming(
            event.data.account_id,
            key_of(event.source, event.id),
            content_of(event.type, event.data),
            event.source,
            event.id,
            event.type,
            event.time,
            event.data,
            place,
            kafka_time(timestamp_ms) if is_append_time and timestamp_ms >= 0 else None,
        )
        order = content.order
    until = place.offset + 1
    return Record(
        place, key, value, headers, timestamp_ms, content, order, size_bytes, place.offset, until, withheld,
        is_append_time,
    )  # fmt: skip

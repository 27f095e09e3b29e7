"""Record batches built byte by byte, as no client of ours would write them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import codec as codecs
from aiokafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from credit_contracts.envelope import Headers

Codec = str
CODECS: tuple[Codec, ...] = ("none", "gzip", "snappy", "lz4", "zstd")
_COMPRESS: dict[Codec, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": codecs.gzip_encode,
    "snappy": codecs.snappy_encode,
    "lz4": codecs.lz4_encode,
    "zstd": codecs.zstd_encode,
}
NO_TIMESTAMP = -1
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 1 << 3, 1 << 4, 1 << 5
_CRC_AT, _ATTRIBUTES_AT = 17, 21
_HEAD = struct.Struct(">qiibIhiqqqhii")


@dataclass(frozen=True)
class RawRecord:
    """One record; names and values of headers are bytes, UTF-8 or not. Its offset is the one before and 1, or given."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = field(default_factory=list)
    offset_delta: int | None = None


def batch_of(
    records: Sequence[RawRecord],
    *,
    codec: Codec = "none",
    timestamp_ms: int = NO_TIMESTAMP,
    attributes: int = 0,
    last_offset_delta: int | None = None,
    base_offset: int = 0,
    producer_id: int = -1,
) -> bytes:
    """A batch of the format that all have written since 2017 (v2); `attributes` come to those of the codec."""
    deltas = [nth if one.offset_delta is None else one.offset_delta for nth, one in enumerate(records)]
    body = b"".join(_record(one, delta) for one, delta in zip(records, deltas, strict=True))
    last = last_offset_delta if last_offset_delta is not None else max(deltas, default=0)
    packed = _COMPRESS[codec](body)
    flags = CODECS.index(codec) | attributes
    length = _HEAD.size - 12 + len(packed)
    of_producer = (producer_id, 0 if producer_id >= 0 else -1, -1)
    head = _HEAD.pack(base_offset, length, 0, 2, 0, flags, last, timestamp_ms, timestamp_ms, *of_producer, len(records))
    return with_right_checksum(head + packed)


def with_header_name(name: bytes, value: bytes, headers: Headers, key: bytes) -> bytes:
    """A batch of one record with one more header, whose name is these bytes, UTF-8 or not."""
    named = [(text.encode(), content) for text, content in headers]
    return batch_of([RawRecord(value, key, [*named, (name, b"")])])


def flipped(batch: bytes, at: int) -> bytes:
    """The batch with one byte of it changed, and the checksum that it had."""
    return batch[:at] + bytes([batch[at] ^ 0xFF]) + batch[at + 1 :]


def with_right_checksum(batch: bytes) -> bytes:
    """The batch with the checksum that its bytes have."""
    checksum = calc_crc32c(batch[_ATTRIBUTES_AT:])
    return batch[:_CRC_AT] + struct.pack(">I", checksum) + batch[_ATTRIBUTES_AT:]


def bomb(codec: Codec, size_bytes: int, key: bytes = b"bomb") -> bytes:
    """A batch of one record whose value is so many zeros; packed it takes a small part of that."""
    return batch_of([RawRecord(bytes(size_bytes), key)], codec=codec)


def control_batch() -> bytes:
    """What only a broker writes: the mark of a transaction that was aborted."""
    return batch_of([RawRecord(bytes(6), bytes(4))], attributes=CONTROL)


def _record(one: RawRecord, offset_delta: int) -> bytes:
    headers = b"".join(_bytes(name) + _bytes(value) for name, value in one.headers)
    body = b"\0" + _varint(0) + _varint(offset_delta) + _bytes(one.key) + _bytes(one.value)
    body += _varint(len(one.headers)) + headers
    return _varint(len(body)) + body


def _bytes(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    left = (number << 1) ^ (number >> 63)
    written = bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    return bytes(written)

"""Record batches in Kafka's format: unpacked within a bound, and read even if a header's name is not UTF-8."""

import sys
from collections.abc import Iterator
from mmap import mmap
from struct import Struct
from typing import NamedTuple

import cramjam
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import decode_varint

# Base offset, length, leader's epoch, format, checksum, attributes, last offset's delta, first and last timestamp,
# producer's id and epoch, first sequence, count: see "Record Batch" in the guide to Kafka's protocol.
HEAD = Struct(">qiibIhiqqqhii")
_LENGTH, _ATTRIBUTES = Struct(">i"), Struct(">h")
_LENGTH_AT, _LENGTH_COUNTS_FROM = 8, 12
# The smallest message of the old formats: offset, length, checksum, format, attributes, lengths of key and value.
_OLD_BYTES_MIN = 26
FORMAT_AT, FORMAT = 16, 2
"""The position of the format's number, which is the same in all formats; and the current format."""

_ATTRIBUTES_AT = 21
_CODEC, _LOG_APPEND_TIME = 0x07, 0x08

# Java's snappy library writes a header, and then blocks, each after its length.
_XERIAL, _XERIAL_HEAD_BYTES = b"\x82SNAPPY\0", 16
NO_ROOM = "failed to write whole buffer"
"""cramjam's message if more is unpacked than there is room for."""


class CannotUnpack(Exception):  # noqa: N818 - reads as the condition that it reports
    """The records of a batch cannot be read; the message is the reason."""


class UnpacksToTooMuch(Exception):  # noqa: N818
    """A batch is larger than the bound when it is unpacked."""


class BatchRecord(NamedTuple):
    """One record of a batch. Bytes of a header's name that are not UTF-8 are lone surrogates, as of `os.fsdecode`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    is_append_time: bool = False
    """Whether the timestamp is the broker's append time, and not the producer's."""

    @property
    def size_bytes(self) -> int:
        """The size of key, value and headers."""
        size = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += len(name) + len(value or b"")
        return size


def batches_in(sent: memoryview) -> Iterator[memoryview]:
    """The whole batches that a broker sent; the last one is left out if it is cut off.

    Raises `CannotUnpack` for an impossible length. A broker always sends the first batch whole (KIP-74).
    """
    at = 0
    while len(sent) - at >= _LENGTH_COUNTS_FROM:
        (length,) = _LENGTH.unpack_from(sent, at + _LENGTH_AT)
        ends = at + _LENGTH_COUNTS_FROM + length
        if at and ends > len(sent):
            return
        batch = sent[at:ends]
        if len(batch) != ends - at or len(batch) < _least_size(batch):
            raise CannotUnpack(f"its length, {length}, is not that of a batch")
        yield batch
        at = ends


def _least_size(batch: memoryview) -> int:
    return HEAD.size if len(batch) > FORMAT_AT and batch[FORMAT_AT] >= FORMAT else _OLD_BYTES_MIN


def latest_ms(batch: memoryview) -> int:
    """The latest timestamp of the batch's records."""
    return int(HEAD.unpack_from(batch)[8])


def has_append_time(batch: memoryview) -> bool:
    """Whether the timestamps are the broker's, as by the topic's `message.timestamp.type`."""
    (attributes,) = _ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)
    return bool(attributes & _LOG_APPEND_TIME)


def unpacked(batch: memoryview, bytes_max: int) -> memoryview:
    """The batch without compression; raises `CannotUnpack` and `UnpacksToTooMuch`.

    `batch` is of format 2, and its checksum was right; the unpacked one keeps the checksum of the packed one.
    """
    if not _codec_of(batch):
        return batch
    # Pages that are not written to are not allocated; a bytearray would be filled with zeros, which takes 40 ms.
    return unpacked_into(memoryview(mmap(-1, HEAD.size + bytes_max)), batch)


def unpacked_into(room: memoryview, batch: memoryview) -> memoryview:
    """Like `unpacked`, of a compressed batch, into `room`; returns the part of it that is used."""
    codec = _codec_of(batch)
    room[: HEAD.size] = batch[: HEAD.size]
    (attributes,) = _ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(room, _ATTRIBUTES_AT, attributes & ~_CODEC)
    size = _unpack_into(room[HEAD.size :], codec, batch[HEAD.size :])
    return room[: HEAD.size + size]


def _codec_of(batch: memoryview) -> int:
    (attributes,) = _ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)
    return int(attributes & _CODEC)


def _unpack_into(room: memoryview, codec: int, packed: memoryview) -> int:
    try:
        match codec:
            case 1:
                return int(cramjam.gzip.decompress_into(packed, room))
            case 2:
                return _snappy_into(room, packed)
            case 3:
                return int(cramjam.lz4.decompress_into(packed, room))
            case 4:
                return int(cramjam.zstd.decompress_into(packed, room))
    except cramjam.DecompressionError as error:
        if NO_ROOM in str(error):
            raise UnpacksToTooMuch from None
        raise CannotUnpack(str(error)) from error
    raise CannotUnpack(f"no codec has the number {codec}")


def _snappy_into(room: memoryview, packed: memoryview) -> int:
    if packed[: len(_XERIAL)] != _XERIAL:
        return _snappy_block_into(room, packed)
    size, at = 0, _XERIAL_HEAD_BYTES
    while at < len(packed):
        begins = at + _LENGTH.size
        if len(packed) < begins:
            raise CannotUnpack("a block of snappy has no length")
        (length,) = _LENGTH.unpack_from(packed, at)
        at = begins + length
        if not 0 <= length <= len(packed) - begins:
            raise CannotUnpack("a block of snappy ends beyond its batch")
        size += _snappy_block_into(room[size:], packed[begins:at])
    return size


def _snappy_block_into(room: memoryview, packed: memoryview) -> int:
    if cramjam.snappy.decompress_raw_len(packed) > len(room):
        raise UnpacksToTooMuch
    return int(cramjam.snappy.decompress_raw_into(packed, room))


def records_of(batch: memoryview, first: int) -> Iterator[BatchRecord]:
    """The records of an unpacked batch, from offset `first` on; raises `CannotUnpack` if it is malformed.

    aiokafka's parser reads it, which is fast but stops at a header's name that is not UTF-8; from there on ours does.
    """
    read, is_append_time = 0, has_append_time(batch)
    try:
        for record in DefaultRecordBatch(batch):
            read += 1
            if record.offset >= first:
                headers = tuple(record.headers)
                yield BatchRecord(record.offset, record.timestamp, record.key, record.value, headers, is_append_time)
        return
    except UnicodeDecodeError:
        pass
    except CorruptRecordException as error:
        raise CannotUnpack(str(error)) from error
    for number, record in enumerate(records_by_length(batch)):
        if number >= read and record.offset >= first and isinstance(record, BatchRecord):
            yield record


class LargeRecord(NamedTuple):
    """A record that was skipped for its size."""

    offset: int
    size_bytes: int


def records_by_length(batch: memoryview, bytes_max: int = sys.maxsize) -> Iterator[BatchRecord | LargeRecord]:
    """The records of an unpacked batch, with any headers' names; of records above the bound only the size.

    Raises `CannotUnpack` if it is malformed.
    """
    base, _, _, _, _, attributes, _, first_ms, latest_ms, _, _, _, count = HEAD.unpack_from(batch)
    at = HEAD.size
    try:
        for _ in range(count):
            length, at = decode_varint(batch, at)
            reader = _Reader(batch[at : at + length], len("a"))
            delta_ms, delta = reader.number(), reader.number()
            if length > bytes_max:
                at += length
                yield LargeRecord(base + delta, length)
                continue
            key, value = reader.content(), reader.content()
            headers = tuple((reader.name(), reader.content()) for _ in range(reader.number()))
            at += length
            is_append_time = bool(attributes & _LOG_APPEND_TIME)
            timestamp = latest_ms if is_append_time else first_ms + delta_ms
            yield BatchRecord(base + delta, timestamp, key, value, headers, is_append_time)
    except (IndexError, ValueError) as error:
        raise CannotUnpack(f"a record is malformed: {error}") from error


class _Reader:
    """Reads the fields of a record, one after the other; raises IndexError if the record ends too soon."""

    def __init__(self, record: memoryview, at: int) -> None:
        self._record = record
        self._at = at

    def number(self) -> int:
        number, self._at = decode_varint(self._record, self._at)
        return int(number)

    def content(self) -> bytes | None:
        length = self.number()
        if length < 0:
            return None
        begins, self._at = self._at, self._at + length
        if self._at > len(self._record):
            raise IndexError("it ends too soon")
        return bytes(self._record[begins : self._at])

    def name(self) -> str:
        return (self.content() or b"").decode("utf-8", "surrogateescape")

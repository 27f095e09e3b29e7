"""Record batches as Kafka keeps them: unpacked within a bound, and read even where a header's name is not text."""

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
# Offset, length, checksum, format, attributes, and the lengths of key and value: the least that ever was a message.
_OLD_BYTES_MIN = 26
FORMAT_AT, FORMAT = 16, 2
"""Where a batch says which format it has, the same place in all formats; and the one of today."""

_ATTRIBUTES_AT = 21
_CODEC, _LOG_APPEND_TIME = 0x07, 0x08

# Java's snappy library writes blocks of its own behind a head: each has its length before it.
_XERIAL, _XERIAL_HEAD_BYTES = b"\x82SNAPPY\0", 16
NO_ROOM = "failed to write whole buffer"
"""What cramjam says where more is unpacked than there is room for."""


class CannotUnpack(Exception):  # noqa: N818 - reads as the condition that it reports
    """No record of a batch can be had; why is the message."""


class UnpacksToTooMuch(Exception):  # noqa: N818
    """A batch holds more than the bound."""


class BatchRecord(NamedTuple):
    """One record of a batch. A header's name that is not UTF-8 has its bytes as lone surrogates, as `os.fsdecode`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    is_append_time: bool = False
    """Whether the timestamp is the broker's, of when it took the record in, and not the producer's."""

    @property
    def size_bytes(self) -> int:
        """Of all that was sent: key, value and headers."""
        size = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += len(name) + len(value or b"")
        return size


def batches_in(sent: memoryview) -> Iterator[memoryview]:
    """The whole batches of what a broker sent; the last one may be cut off, and is then left out.

    Raises `CannotUnpack` where one has no length that it can have. A broker always sends the first one whole (KIP-74).
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
    """The latest timestamp of its records."""
    return int(HEAD.unpack_from(batch)[8])


def has_append_time(batch: memoryview) -> bool:
    """Whether its timestamps are the broker's, which its topic's `message.timestamp.type` says."""
    (attributes,) = _ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)
    return bool(attributes & _LOG_APPEND_TIME)


def unpacked(batch: memoryview, bytes_max: int) -> memoryview:
    """The batch as it would be if its producer had not packed it; raises `CannotUnpack` and `UnpacksToTooMuch`.

    `batch` is one of format 2 whose checksum was right; the one that is returned has that of the packed one.
    """
    if not _codec_of(batch):
        return batch
    # Pages that nothing is written to are never made; a bytearray would be filled with zeros, which takes 40 ms.
    return unpacked_into(memoryview(mmap(-1, HEAD.size + bytes_max)), batch)


def unpacked_into(room: memoryview, batch: memoryview) -> memoryview:
    """As `unpacked`, of a batch that is packed, in as much of `room` as it takes."""
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
    """The records of a batch that is not packed, from offset `first` on; raises `CannotUnpack` where it has no form.

    aiokafka's parser reads it, which is quick and gives up on a name that is not UTF-8; from there on ours does.
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
    """A record that was passed over, and how long it is."""

    offset: int
    size_bytes: int


def records_by_length(batch: memoryview, bytes_max: int = sys.maxsize) -> Iterator[BatchRecord | LargeRecord]:
    """The records of a batch that is not packed, whatever their headers' names; longer ones than the bound by length.

    Raises `CannotUnpack` where it has no form.
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
        raise CannotUnpack(f"a record has no form: {error}") from error


class _Reader:
    """Reads what a record is made of, one after the other; raises IndexError where the record ends too soon."""

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

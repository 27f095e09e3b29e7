"""What lies in topics, asked for and read byte by byte: aiokafka's consumer gives up on a header's name that is not
UTF-8. No code of the service's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka import codec as codecs
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import decode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Headers = list[tuple[str, "bytes | None"]]

_REQUEST_MS_MAX = 10_000
_ANSWER_BYTES_MAX = 8 * 1024 * 1024
_READ_COMMITTED = 1
_HEAD = struct.Struct(">qiibIhiqqqhii")
_LENGTH_COUNTS_FROM = 12
_MARK_OF_AN_ABORT = 0
_UNPACK = {0: bytes, 1: codecs.gzip_decode, 2: codecs.snappy_decode, 3: codecs.lz4_decode, 4: codecs.zstd_decode}


class CannotBeRead(Exception):  # noqa: N818 - reads as the condition that it reports
    """A batch has not the bytes that were sent."""


@dataclass(frozen=True)
class Lying:
    """A record; of a header's name that is not UTF-8, the bytes that are none are shown as `\\xff`."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


async def committed_in(
    kafka: str, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, list[Lying]]:
    """All records of each partition up to its end, but those of transactions that were aborted."""
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    try:
        await client.set_topics({at.topic for at in begins})
        return {at: await _partition(client, at, begin, ends[at]) for at, begin in begins.items()}
    finally:
        await client.close()


async def _partition(client: Any, at: TopicPartition, begin: int, end: int) -> list[Lying]:
    found: list[Lying] = []
    while begin < end:
        of_it = [(at.topic, [(at.partition, begin, _ANSWER_BYTES_MAX)])]
        request = FetchRequest(_REQUEST_MS_MAX, 1, _ANSWER_BYTES_MAX, _READ_COMMITTED, of_it)
        answer = await client.send(client.cluster.leader_for_partition(at), request)
        ((_, (told,)),) = answer.topics
        assert not told[1], f"the broker answers {at} with error {told[1]}"
        aborted = next((one for one in told if isinstance(one, list)), [])
        records, begin = _committed(bytes(told[-1]), aborted, begin)
        found += records
    return found


def _committed(sent: bytes, aborted: list[tuple[int, int]], begin: int) -> tuple[list[Lying], int]:
    """The records from `begin` on, and where to ask on."""
    found: list[Lying] = []
    waiting, gone = sorted(aborted, key=lambda one: one[1]), set()
    for batch in batches_in(sent):
        head = DefaultRecordBatch(batch)
        if not head.validate_crc():
            raise CannotBeRead(f"the batch at {head.base_offset} has another checksum than its bytes")
        while waiting and waiting[0][1] <= head.base_offset:
            gone.add(waiting.pop(0)[0])
        if head.is_control_batch:
            (mark,) = records_in(batch)
            if struct.unpack_from(">hh", mark.key or b"")[1] == _MARK_OF_AN_ABORT:
                gone.discard(head.producer_id)
        elif not (head.is_transactional and head.producer_id in gone):
            found += [one for one in records_in(batch) if one.offset >= begin]
        begin = max(begin, head.next_offset)
    return found, begin


def batches_in(sent: bytes) -> Iterator[bytes]:
    """One after the other; the last one may be cut off, and is then left out."""
    at = 0
    while at + _LENGTH_COUNTS_FROM <= len(sent):
        (length,) = struct.unpack_from(">i", sent, at + 8)
        ends = at + _LENGTH_COUNTS_FROM + length
        if ends > len(sent):
            return
        yield sent[at:ends]
        at = ends


def records_in(batch: bytes) -> list[Lying]:
    """aiokafka's own parser is quick; where it gives up, ours goes on."""
    try:
        return [Lying(r.offset, r.key, r.value, list(r.headers)) for r in DefaultRecordBatch(batch)]
    except UnicodeDecodeError:
        return _records_in(batch)


def _records_in(batch: bytes) -> list[Lying]:
    base, _, _, _, _, attributes, *_, count = _HEAD.unpack_from(batch)
    body = _UNPACK[attributes & 7](batch[_HEAD.size :])
    at, found = 0, []

    def number() -> int:
        nonlocal at
        read, at = decode_varint(body, at)
        return int(read)

    def content() -> bytes | None:
        nonlocal at
        length = number()
        if length < 0:
            return None
        at += length
        return bytes(body[at - length : at])

    for _ in range(count):
        number()
        at += 1  # attributes, of which there are none
        number()
        offset, key, value = base + number(), content(), content()
        headers = [((content() or b"").decode("utf-8", "surrogateescape"), content()) for _ in range(number())]
        found.append(Lying(offset, key, value, headers))
    return found

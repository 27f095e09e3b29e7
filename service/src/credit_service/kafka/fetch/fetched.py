"""Reads the batches that a broker sent of one partition, piece by piece."""

import time
from collections.abc import Iterator, Sequence
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Any

import cramjam
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from credit_service import bounds
from credit_service.kafka.fetch.batches import (
    FORMAT,
    FORMAT_AT,
    BatchRecord,
    CannotUnpack,
    UnpacksToTooMuch,
    batches_in,
    has_append_time,
    latest_ms,
    records_of,
    unpacked,
)
from credit_service.kafka.fetch.portions import NO_TIMESTAMP, Fault, Item, Portion, TooLargeBatch

CHECKSUM = "its checksum is wrong"
LOG_APPEND_TIME = 1
"""The timestamp type by which aiokafka says of a record of an old format that its timestamp is the broker's."""

PREFETCH_SECONDS = 0.1
"""The pause of fetches from a broker while records that it sent are not read."""

# The errors of aiokafka's reader of old formats for bytes that it cannot read: its own, of codecs, of lengths.
_OF_OLD_FORMATS = (KafkaError, OSError, EOFError, ValueError, IndexError, StructError, cramjam.DecompressionError)


class Fetched:
    """The answer of a broker for one partition, read piece by piece; the next piece begins at `next_offset`."""

    def __init__(self, sent: memoryview, aborted: Sequence[tuple[int, int]], offset: int, assignment: Any) -> None:
        self.next_offset = offset
        self.assignment = assignment
        self._came_at = time.monotonic()
        self._read_until: int | None = None
        self._items = self._read(sent, sorted(aborted, key=lambda one: one[1], reverse=True))

    def calculate_backoff(self) -> float:
        """For how long no more is fetched from the broker: see `Fetcher._get_actions_per_node`."""
        return max(0.0, self._came_at + PREFETCH_SECONDS - time.monotonic())

    def take(self, partition: TopicPartition, records_max: int, bytes_max: int) -> tuple[Portion, bool]:
        """The next portion, with at least one record if there is any left; and whether it is the last one."""
        portion = Portion(partition, self.next_offset, self.next_offset)
        records, size, is_all = portion.records, 0, True
        try:
            for item in self._items:
                records.append(item)
                size += item.size_bytes
                if len(records) >= records_max or size >= bytes_max:
                    is_all = False
                    break
        except CannotUnpack as error:
            portion.fault = Fault(self.next_offset, self._read_until, str(error))
        portion.until, portion.size_bytes = self.next_offset, size
        return portion, is_all

    def _read(self, sent: memoryview, aborted: list[tuple[int, int]]) -> Iterator[Item]:
        """Like aiokafka's `PartitionRecords`: skips aborted transactions and markers, and notes the next offset."""
        aborted_producers: set[int] = set()
        for batch in batches_in(sent):
            if batch[FORMAT_AT] != FORMAT:
                yield from self._old(batch)
                continue
            head = DefaultRecordBatch(batch)
            self._read_until = head.next_offset
            if not head.validate_crc():
                raise CannotUnpack(CHECKSUM)
            while aborted and aborted[-1][1] <= head.base_offset:
                aborted_producers.add(aborted.pop()[0])
            if head.is_control_batch:
                if _is_abort(batch):
                    aborted_producers.discard(head.producer_id)
            elif not (head.is_transactional and head.producer_id in aborted_producers):
                yield from self._new(batch, head)
            self.next_offset = max(self.next_offset, head.next_offset)
            self._read_until = None

    def _new(self, batch: memoryview, head: DefaultRecordBatch) -> Iterator[Item]:
        try:
            plain = unpacked(batch, bounds.BATCH_UNPACKED_BYTES_MAX)
        except UnpacksToTooMuch:
            first, self.next_offset = self.next_offset, head.next_offset
            yield TooLargeBatch(
                first, head.next_offset, latest_ms(batch), bytes(batch), is_append_time=has_append_time(batch)
            )
            return
        for record in records_of(plain, self.next_offset):
            self.next_offset = record.offset + 1
            yield record

    def _old(self, batch: memoryview) -> Iterator[Item]:
        """Messages of the formats before Kafka 0.11, which may still be in a log."""
        if batch[FORMAT_AT] > FORMAT:
            raise CannotUnpack(f"its format has the number {batch[FORMAT_AT]}")
        old = LegacyRecordBatch(batch, batch[FORMAT_AT])
        try:
            if not old.validate_crc():
                raise CannotUnpack(CHECKSUM)
            for record in old:
                if record.offset >= self.next_offset:
                    self.next_offset = record.offset + 1
                    timestamp = NO_TIMESTAMP if record.timestamp is None else record.timestamp
                    is_append_time = record.timestamp_type == LOG_APPEND_TIME
                    yield BatchRecord(record.offset, timestamp, record.key, record.value, (), is_append_time)
        except _OF_OLD_FORMATS as error:
            raise CannotUnpack(f"{type(error).__name__}: {error}") from error
        self.next_offset = max(self.next_offset, old.next_offset)


def _is_abort(marker: memoryview) -> bool:
    """Whether the marker ends an aborted transaction; false for one without a record, which compaction leaves."""
    record = next(records_of(marker, 0), None)
    return record is not None and ControlRecord.parse(record.key or b"") == ABORT_MARKER

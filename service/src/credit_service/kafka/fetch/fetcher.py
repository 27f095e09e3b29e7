"""aiokafka's fetcher, in which each partition fails by itself, and tells how far what it hands over goes."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Any, TypeAlias

import cramjam
import structlog
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import (
    KafkaError,
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
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

log = structlog.get_logger(__name__)
# What may be said ten times a second while a broker is away: said once in a while, as the library's own lines.
seldom = logging.getLogger("aiokafka.consumer.fetcher")

CHECKSUM = "its checksum is wrong"
NO_TIMESTAMP = -1
LOG_APPEND_TIME = 1
"""How aiokafka says of a record of an old format that its timestamp is the broker's."""

ERROR_SECONDS_MAX = 10.0
"""So long brokers may answer for a partition with an error before that is the partition's fault."""

LEADERS_ASKED_EVERY_SECONDS = 0.1
"""So seldom brokers are asked which of them leads a partition: those that are away refuse at once."""

PREFETCH_SECONDS = 0.1
"""So long a broker is not asked for more while what it sent of a partition is not read."""

# What aiokafka's reader of old formats raises for bytes that it cannot read: of its own, of codecs, of lengths.
_OF_OLD_FORMATS = (KafkaError, OSError, EOFError, ValueError, IndexError, StructError, cramjam.DecompressionError)
# Where a broker's answer has what was aborted: from version 11 on, the number of a replica comes behind it.
_VERSION_WITH_REPLICA, _ABORTED_AT, _ABORTED_AT_BEFORE = 11, 2, -2


@dataclass(frozen=True, slots=True)
class TooLargeBatch:
    """A batch that holds too much to be unpacked: for all its offsets, `offset` up to but without `until`.

    `value` is the batch as the broker sent it.
    """

    offset: int
    until: int
    timestamp: int
    value: bytes
    key: None = None
    headers: tuple[()] = ()
    is_append_time: bool = False

    @property
    def size_bytes(self) -> int:
        """Of what is kept of it."""
        return len(self.value)


Item: TypeAlias = BatchRecord | TooLargeBatch


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a partition cannot be read from `offset` on, up to but without `until` where that is known."""

    offset: int
    until: int | None
    cause: str


class OutOfRange:
    """The log does not have what comes next: it was removed, or the log was made anew."""


@dataclass(slots=True)
class Portion:
    """What is handed over of one partition: all there is from `begin` up to but without `until`.

    Offsets without a record are those of marks, of aborted transactions, and what was compacted away. `fault`: why
    nothing comes from `until` on.
    """

    partition: TopicPartition
    begin: int
    until: int
    records: list[Item] = field(default_factory=list)
    fault: Fault | OutOfRange | None = None
    size_bytes: int = 0

    @property
    def topic(self) -> str:
        """FastStream asks for it, as it would of a record."""
        return str(self.partition.topic)


class Fetched:
    """What a broker sent of one partition, read piece by piece; `next_offset` is where the next piece begins."""

    def __init__(self, sent: memoryview, aborted: Sequence[tuple[int, int]], offset: int, assignment: Any) -> None:
        self.next_offset = offset
        self.assignment = assignment
        self._came_at = time.monotonic()
        self._read_until: int | None = None
        self._items = self._read(sent, sorted(aborted, key=lambda one: one[1], reverse=True))

    def calculate_backoff(self) -> float:
        """How long the broker is not asked for more: see `Fetcher._get_actions_per_node`."""
        return max(0.0, self._came_at + PREFETCH_SECONDS - time.monotonic())

    def take(self, partition: TopicPartition, records_max: int, bytes_max: int) -> tuple[Portion, bool]:
        """Some more of it, at least one record if there is any left; and whether that was all."""
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
        """As aiokafka's `PartitionRecords`: passes over what was aborted and over marks, and notes how far it got."""
        gone: set[int] = set()
        for batch in batches_in(sent):
            if batch[FORMAT_AT] != FORMAT:
                yield from self._old(batch)
                continue
            head = DefaultRecordBatch(batch)
            self._read_until = head.next_offset
            if not head.validate_crc():
                raise CannotUnpack(CHECKSUM)
            while aborted and aborted[-1][1] <= head.base_offset:
                gone.add(aborted.pop()[0])
            if head.is_control_batch:
                if _is_abort(batch):
                    gone.discard(head.producer_id)
            elif not (head.is_transactional and head.producer_id in gone):
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
        """Messages of the formats that were written before Kafka 0.11, and that may still lie in a log."""
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


def _is_abort(mark: memoryview) -> bool:
    """Whether it says that a transaction was aborted; one without a record, which compaction leaves, says nothing."""
    record = next(records_of(mark, 0), None)
    return record is not None and ControlRecord.parse(record.key or b"") == ABORT_MARKER


@dataclass(slots=True)
class Failed:
    """What is to be said of a partition instead of records: a fault of it, or an error that is raised."""

    offset: int
    assignment: Any
    what: Fault | OutOfRange | KafkaError

    def calculate_backoff(self) -> float:
        """Nothing of this partition waits, so others may be asked for."""
        return 0.0


class PartitionFetcher(Fetcher):  # type: ignore[misc]  # aiokafka ships no types
    """Keeps what was read of one partition when another fails.

    Of aiokafka's own it keeps the round of requests (`_fetch_requests_routine`) and what they ask. What is answered is
    read here, and had from `portions` instead of `fetched_records`.
    """

    _failing: dict[TopicPartition, float]
    _leaders_asked: float

    @classmethod
    def out_of(cls, fetcher: Fetcher) -> "PartitionFetcher":
        """The fetcher that a consumer has just made, before its first round, as one of these."""
        fetcher.__class__ = cls
        fetcher._failing = {}
        fetcher._leaders_asked = 0.0
        return fetcher  # type: ignore[no-any-return]  # its class was set above

    async def portions(
        self, partitions: Collection[TopicPartition], timeout_seconds: float, records_max: int, bytes_max: int
    ) -> list[Portion]:
        """What came of `partitions`, of all if none are given: at most so much, and as soon as there is anything.

        Raises `KafkaError` where the group is lost or a topic may not be read; nothing is lost with it.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        while True:
            if self._subscriptions.reassignment_in_progress:
                await self._subscriptions.wait_for_assignment()
            if taken := self._take(partitions, records_max, bytes_max):
                return taken
            if (left := until - loop.time()) <= 0:
                return []
            waiter = self._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=left)
            if self._closed or not waiter.done():
                waiter.cancel()
                return []
            waiter.result()  # raises what the group's coordinator gave it

    def _take(self, partitions: Collection[TopicPartition], records_max: int, bytes_max: int) -> list[Portion]:
        portions: list[Portion] = []
        for at in [at for at in self._records if not partitions or at in partitions]:
            if records_max <= 0 or bytes_max <= 0:
                break
            fetched = self._records[at]
            if isinstance(fetched, Failed) and isinstance(fetched.what, KafkaError):
                if portions:
                    break  # raised by the next call
                self._drop(at)
                raise fetched.what
            state = fetched.assignment.state_value(at) if fetched.assignment.active else None
            offset = fetched.offset if isinstance(fetched, Failed) else fetched.next_offset
            if state is None or state.paused or state.position != offset:
                self._drop(at)  # taken away, paused or sent elsewhere meanwhile
            elif isinstance(fetched, Failed):
                self._drop(at)
                portions.append(Portion(at, offset, offset, fault=fetched.what))
            else:
                portion, is_all = fetched.take(at, records_max, bytes_max)
                state.consumed_to(fetched.next_offset)
                if is_all:
                    self._drop(at)
                else:
                    # Next time it comes first: of all partitions one batch at a time is unpacked and partly read.
                    self._records.move_to_end(at, last=False)
                if portion.until > portion.begin or portion.fault:
                    portions.append(portion)
                records_max -= len(portion.records)
                bytes_max -= portion.size_bytes
        return portions

    def _get_actions_per_node(self, assignment: Any) -> Any:
        """As aiokafka's, which asks for leaders again at once where none is known: a thousand times a second."""
        fetches, resets, seconds_max, no_leader, resumed = super()._get_actions_per_node(assignment)
        if no_leader:
            early = self._leaders_asked + LEADERS_ASKED_EVERY_SECONDS - time.monotonic()
            if early > 0:
                return fetches, resets, min(seconds_max, early), False, resumed
            self._leaders_asked = time.monotonic()
        return fetches, resets, seconds_max, no_leader, resumed

    def _set_error(self, tp: TopicPartition, error: KafkaError) -> None:
        """Keeps what is to be raised; aiokafka calls it where there is no offset to begin from."""
        self._records[tp] = Failed(-1, None, error)

    def _drop(self, at: TopicPartition) -> None:
        """Lets the partition be fetched again."""
        del self._records[at]
        self._notify(self._wait_consume_future)

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> bool:
        """Asks one broker; whether anything came that may be waited for. Called by the round of requests."""
        try:
            response = await self._client.send(node_id, request)
        except KafkaError as fault:
            seldom.warning("broker %s did not answer a fetch: %s", node_id, type(fault).__name__)
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:
            return False  # closed, or partitions were taken away: nobody wants the answer
        if not assignment.active:
            return False
        asked = {TopicPartition(topic, at): offset for topic, of in request.topics for at, offset, _ in of}
        answers = [
            (TopicPartition(topic, partition), code, highwater, rest)
            for topic, partitions in response.topics
            for partition, code, highwater, *rest in partitions
        ]
        aborted_at = _ABORTED_AT if response.API_VERSION >= _VERSION_WITH_REPLICA else _ABORTED_AT_BEFORE
        for at, code, highwater, rest in answers:
            state, offset = assignment.state_value(at), asked[at]
            if not state.has_valid_position or state.position != offset:
                continue  # sent elsewhere meanwhile
            if (error := for_code(code)) is not NoError:
                self._note_error(at, offset, error, assignment)
                continue
            self._failing.pop(at, None)
            state.highwater, state.lso, state.timestamp = highwater, rest[0], int(time.time() * 1000)
            if rest[-1]:
                self._records[at] = Fetched(memoryview(rest[-1]), rest[aborted_at] or (), offset, assignment)
        return any(at in self._records for at, *_ in answers)

    def _note_error(self, at: TopicPartition, offset: int, error: type[KafkaError], assignment: Any) -> None:
        if error is TopicAuthorizationFailedError:
            self._records[at] = Failed(offset, assignment, error(at.topic))
            return
        if error is OffsetOutOfRangeError:
            self._records[at] = Failed(offset, assignment, OutOfRange())
            return
        if error in (NotLeaderForPartitionError, UnknownTopicOrPartitionError):
            self._client.force_metadata_update()
        now = time.monotonic()
        since = self._failing.setdefault(at, now)
        log.warning("a broker answers with an error", topic=at.topic, partition=at.partition, cause=error.__name__)
        if now - since >= ERROR_SECONDS_MAX:
            del self._failing[at]
            self._records[at] = Failed(offset, assignment, Fault(offset, None, f"a broker answers {error.__name__}"))

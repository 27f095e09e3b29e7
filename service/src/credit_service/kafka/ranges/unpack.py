"""Unpacks batches, kept whole as dead letters because they are too large, in a temporary file."""

import asyncio
import mmap
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from aiokafka.record.default_records import DefaultRecordBatch

from credit_service import bounds
from credit_service.application.dead_letters.model import CannotTakeApart, PassedOver
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place
from credit_service.kafka.fetch.batches import (
    FORMAT,
    FORMAT_AT,
    HEAD,
    CannotUnpack,
    LargeRecord,
    UnpacksToTooMuch,
    batches_in,
    records_by_length,
    unpacked_into,
)

ROOM_BYTES_FIRST = 128 * 1024 * 1024

EventType: TypeAlias = Callable[[str], str]
"""Maps a topic's name in Kafka to the type of its events."""


@dataclass(frozen=True, slots=True)
class BatchInFile:
    """The application's `TakesApart`."""

    event_type: EventType

    @asynccontextmanager
    async def __call__(self, kept: Record) -> AsyncIterator[Iterator[Record | PassedOver]]:
        """See `application.dead_letters.model.TakesApart`."""
        batch = _batch_in(kept.value or b"")
        yield self._records(await asyncio.to_thread(_unpacked, batch), kept.place)

    def _records(self, plain: memoryview, first: Place) -> Iterator[Record | PassedOver]:
        event_type = self.event_type(first.topic)
        try:
            for one in records_by_length(plain, bounds.LETTER_BATCH_BYTES_MAX):
                if one.offset < first.offset:
                    continue  # decided before the rest was fetched
                place = Place(first.topic, first.partition, one.offset)
                if isinstance(one, LargeRecord):
                    yield PassedOver(place, one.size_bytes)
                else:
                    yield read_record(place, event_type, one.key, one.value, one.headers, one.timestamp)
        except CannotUnpack as error:
            raise CannotTakeApart(str(error)) from error


def _batch_in(kept: bytes) -> memoryview:
    try:
        batch = next(batches_in(memoryview(kept)), None)
        if batch is not None and batch[FORMAT_AT] == FORMAT and DefaultRecordBatch(batch).validate_crc():
            return batch
    except CannotUnpack:
        pass
    raise CannotTakeApart("the bytes that are kept are no batch")


def _unpacked(batch: memoryview) -> memoryview:
    """The unpacked batch, in a larger file each time until it fits; the file goes with the last view of it."""
    room_bytes = min(ROOM_BYTES_FIRST, bounds.LETTER_UNPACKED_BYTES_MAX)
    while True:
        try:
            return unpacked_into(_room(HEAD.size + room_bytes), batch)
        except CannotUnpack as error:
            raise CannotTakeApart(str(error)) from error
        except UnpacksToTooMuch:
            if room_bytes == bounds.LETTER_UNPACKED_BYTES_MAX:
                raise CannotTakeApart(f"it holds more than {room_bytes:,} bytes") from None
        room_bytes = min(2 * room_bytes, bounds.LETTER_UNPACKED_BYTES_MAX)


def _room(size_bytes: int) -> memoryview:
    """A file in memory whose space is allocated at once: a full disk would end the process later."""
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise CannotTakeApart(f"there is no room in the temporary folder: {why}") from error
        return memoryview(mmap.mmap(file.fileno(), size_bytes))

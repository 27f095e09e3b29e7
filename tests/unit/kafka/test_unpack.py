"""Batches that were kept whole are unpacked."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from credit_service.application.dead_letters.model import CannotTakeApart, PassedOver
from credit_service.application.record import Record, batch_of, is_batch, read_record
from credit_service.domain.event import Place
from credit_service.kafka.ranges import unpack
from credit_service.kafka.ranges.unpack import BatchInFile
from support.foreign import batches
from support.foreign.batches import RawRecord, bomb, flipped
from support.small_bounds import small_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

AT = Place("t-email-bounced", 3, 7)
BASE = 5


def kept(packed: bytes) -> Record:
    return batch_of(AT, 100, packed, 0)


async def taken_apart(packed: bytes) -> list[Record | PassedOver]:
    async with BatchInFile(lambda topic: topic.removeprefix("t-"))(kept(packed)) as records:
        return list(records)


def packed(*records: RawRecord, codec: str = "zstd") -> bytes:
    return batches.batch_of(records, codec=codec, base_offset=BASE)


def offsets(records: Sequence[Record | PassedOver]) -> list[int]:
    return [record.place.offset for record in records]


async def test_its_records_stand_at_their_own_places_from_the_letters_on() -> None:
    records = await taken_apart(packed(*(RawRecord(b"%d" % n, b"k", [(b"\xff", None)]) for n in range(5))))
    assert offsets(records) == [7, 8, 9]
    assert {(one.place.topic, one.place.partition) for one in records} == {AT[:2]}
    assert [one.value for one in records if isinstance(one, Record)] == [b"2", b"3", b"4"]


async def test_a_record_beyond_the_bound_is_passed_over_and_those_behind_it_are_not() -> None:
    with small_bounds(LETTER_BATCH_BYTES_MAX=100):
        records = await taken_apart(packed(*(RawRecord(bytes(size)) for size in (0, 0, 10, 200, 10))))
    assert offsets(records) == [7, 8, 9]
    (passed,) = (one for one in records if isinstance(one, PassedOver))
    assert (passed.place.offset, passed.size_bytes > 200) == (8, True)


@pytest.mark.parametrize("codec", batches.CODECS[1:])
async def test_the_room_grows_until_there_is_enough(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    monkeypatch.setattr(unpack, "ROOM_BYTES_FIRST", 1)
    records = await taken_apart(packed(*(RawRecord(os.urandom(100)) for _ in range(20)), codec=codec))
    assert len(records) == 18


@pytest.mark.parametrize("codec", batches.CODECS[1:])
async def test_beyond_the_bound_it_is_not_taken_apart(codec: str) -> None:
    with small_bounds(LETTER_UNPACKED_BYTES_MAX=1_000), pytest.raises(CannotTakeApart, match="more than 1,000 bytes"):
        await taken_apart(bomb(codec, 2_000))


@pytest.mark.parametrize("bytes_kept", [b"", b"\0" * 5, b"\0" * 100, flipped(packed(RawRecord(b"v")), 70)])
async def test_bytes_that_are_no_batch_are_said_to_be_none(bytes_kept: bytes) -> None:
    with pytest.raises(CannotTakeApart, match="are no batch"):
        await taken_apart(bytes_kept)


async def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(_: int, __: int, ___: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", is_full)
    with pytest.raises(CannotTakeApart, match="no room in the temporary folder: No space left on device"):
        await taken_apart(packed(RawRecord(b"v")))


def test_only_what_stands_for_a_batch_is_one() -> None:
    assert is_batch(kept(b"x"))
    like_it = [("credit_dead_letter_until", b"9"), ("ce_type", b"email-bounced")]
    assert not is_batch(read_record(AT, "email-bounced", None, b"x", like_it, 0))

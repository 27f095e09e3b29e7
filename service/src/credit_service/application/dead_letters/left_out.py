"""Dead letters that are kept without their bytes: the bytes are read from Kafka and checked by their hash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from credit_service.application.kept_record import content_sha256
from credit_service.application.record import Record
from credit_service.domain.event import Place


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The hash and size of bytes that were not kept; `size_bytes` is the value's."""

    content_sha256: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NotRead:
    """Why a letter's bytes cannot be read from Kafka: the letter waits on."""

    reason: Literal["bytes-gone", "bytes-differ", "bytes-unread"]
    detail: str


class Originals(Protocol):
    """The source of bytes that letters are kept without."""

    async def read(self, wanted: Mapping[Place, LeftOut]) -> Mapping[Place, Record | NotRead]:
        """The record of each place, if it is still the one of the letter; raises nothing."""


class NoOriginals:
    """The `Originals` without a Kafka."""

    async def read(self, wanted: Mapping[Place, LeftOut]) -> Mapping[Place, Record | NotRead]:
        """See `Originals`."""
        return dict.fromkeys(wanted, NotRead("bytes-unread", "there is no Kafka to read them from"))


def checked(record: Record, left_out: LeftOut) -> Record | NotRead:
    """The record, if it is the one of the letter."""
    known = record.withheld
    read = content_sha256(record.key, record.value, record.headers) if known is None else known.content_sha256
    if read == left_out.content_sha256:
        return record
    return NotRead("bytes-differ", "another message lies at its place: the topic was made anew")

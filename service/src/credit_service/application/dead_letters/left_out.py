"""Dead letters that are kept without their bytes: these are read from Kafka again, and known by their hash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from credit_service.application.kept_record import content_sha256
from credit_service.application.record import Record
from credit_service.domain.event import Place


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is known of bytes that were not kept; `size_bytes` is the value's."""

    content_sha256: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NotRead:
    """Why a letter's bytes could not be read again: it waits on."""

    reason: Literal["bytes-gone", "bytes-differ", "bytes-unread"]
    detail: str


class Originals(Protocol):
    """Where the bytes of letters are, that are kept without them."""

    async def read(self, wanted: Mapping[Place, LeftOut]) -> Mapping[Place, Record | NotRead]:
        """The record of each place, if it is still the one that the letter was made of; raises nothing."""


class NoOriginals:
    """The `Originals` of those who have no Kafka."""

    async def read(self, wanted: Mapping[Place, LeftOut]) -> Mapping[Place, Record | NotRead]:
        """See `Originals`."""
        return dict.fromkeys(wanted, NotRead("bytes-unread", "Kafka is not asked here"))


def checked(record: Record, left_out: LeftOut) -> Record | NotRead:
    """The record, if it is the one that the letter was made of."""
    known = record.withheld
    read = content_sha256(record.key, record.value, record.headers) if known is None else known.content_sha256
    if read == left_out.content_sha256:
        return record
    return NotRead("bytes-differ", "another message lies at its place: the topic was made anew")

"""Dead letters that are kept without their bytes: these are read from Kafka again, and known by their hash."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, Protocol

from credit_service.application.record import Headers, Record
from credit_service.domain.decision import Place

ENCODED_ANEW = ("parked-too-long",)
"""Reasons of letters whose bytes are not those of Kafka: they are always kept."""


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


def headers_as_json(headers: Headers) -> str:
    """An array of [name, base64 or null], as the ledger keeps it."""
    return json.dumps([[n, None if value is None else base64.b64encode(value).decode()] for n, value in headers])


def framed(key: bytes | None, value: bytes | None, headers_json: str) -> Sequence[bytes]:
    """Key, value and headers as parts of which each has its length before it: what a letter's hashes are made of."""
    parts = (key, value, headers_json.encode())
    return [b"-" if part is None else b"%d:" % len(part) + part for part in parts]


def content_sha256(key: bytes | None, value: bytes | None, headers_json: str) -> bytes:
    """The hash of all that a letter keeps of its record."""
    digest = sha256()
    for part in framed(key, value, headers_json):
        digest.update(part)
    return digest.digest()


def checked(record: Record, left_out: LeftOut) -> Record | NotRead:
    """The record, if it is the one that the letter was made of."""
    if content_sha256(record.key, record.value, headers_as_json(record.headers)) == left_out.content_sha256:
        return record
    return NotRead("bytes-differ", "another message lies at its place: the topic was made anew")

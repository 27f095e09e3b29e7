"""The form in which a dead letter keeps its record, and the hashes that identify the record."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from json.encoder import encode_basestring_ascii

Headers = Sequence[tuple[str, bytes | None]]
HEADERS_AT_ONCE = 16
"""Small, since a single header may have many bytes."""


def headers_as_json(headers: Headers) -> str:
    """The headers as a JSON array of [name, base64 or null]."""
    return "[" + ", ".join(map(_header_as_json, headers)) + "]"


def headers_from_json(kept: str) -> Headers:
    """The headers from their JSON array."""
    return [(name, None if value is None else base64.b64decode(value)) for name, value in json.loads(kept)]


def content_sha256(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """The hash of all that a letter keeps of its record."""
    return hashes_of(key, value, headers)[1]


def digest_of(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """16 bytes that tell two records at one place apart: a topic may be deleted and created again."""
    return hashes_of(key, value, headers)[0]


def hashes_of(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[bytes, bytes]:
    """`digest_of` and `content_sha256` in one pass: a record may have a million headers."""
    digest, content = blake2b(digest_size=16), sha256()
    for part in _framed(key, value, headers):
        digest.update(part)
        content.update(part)
    return digest.digest(), content.digest()


@dataclass(frozen=True, slots=True)
class Withheld:
    """Hashes and sizes of a record that is too large to be held; its bytes stay in Kafka alone.

    `key_bytes` is None where the key is short and is kept.
    """

    digest: bytes
    content_sha256: bytes
    key_bytes: int | None
    value_bytes: int | None
    value_sha256: bytes | None

    @staticmethod
    def of(key: bytes | None, value: bytes | None, headers: Headers, key_bytes_max: int) -> "Withheld":
        """The hashes and sizes of a record; keys up to that length are kept."""
        return Withheld(
            *hashes_of(key, value, headers),
            None if key is None or len(key) <= key_bytes_max else len(key),
            None if value is None else len(value),
            None if value is None else sha256(value).digest(),
        )


def _header_as_json(header: tuple[str, bytes | None]) -> str:
    # As `json.dumps` writes it, in a fifth of the time.
    name, value = header
    kept = "null" if value is None else f'"{base64.b64encode(value).decode()}"'
    return f"[{encode_basestring_ascii(name)}, {kept}]"


def _framed(key: bytes | None, value: bytes | None, headers: Headers) -> Iterator[bytes]:
    """Key, value and headers, each after its length, in pieces: one of them, or some headers."""
    for part in (key, value):
        if part is None:
            yield b"-"
        else:
            yield b"%d:" % len(part)
            yield part
    yield b"%d:" % (sum(len(_header_as_json(header)) for header in headers) + 2 * max(1, len(headers)))
    yield b"["
    for begin in range(0, len(headers), HEADERS_AT_ONCE):
        some = ", ".join(map(_header_as_json, headers[begin : begin + HEADERS_AT_ONCE]))
        yield f"{', ' if begin else ''}{some}".encode()
    yield b"]"

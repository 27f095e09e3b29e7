"""Sums of hashes: two sides with the same things, in any order, have the same sum."""

from dataclasses import dataclass
from hashlib import blake2b

from credit_service.domain.event import Place


def hash_of_message(place: Place, key: bytes, content: bytes) -> int:
    """The hash of a decided message: its place, its idempotency key, and the hash of its content."""
    head = b"%d:%s:%d:%d:" % (len(place.topic), place.topic.encode(), place.partition, place.offset)
    return _number(head, key + content)


def hash_of_event(event_id: str, key: bytes | None, value: bytes | None) -> int:
    """The hash of an outgoing event's bytes."""
    return _number(b"%d:%s:%d:" % (len(event_id), event_id.encode(), len(key or b"")), (key or b"") + (value or b""))


def _number(head: bytes, rest: bytes) -> int:
    return int.from_bytes(blake2b(head + rest, digest_size=16).digest())


@dataclass(slots=True)
class Fingerprint:
    """The number of things, and the sum of their hashes. A repeated thing counts twice."""

    count: int = 0
    total: int = 0

    def add(self, hashed: int) -> None:
        """Adds the hash of a thing."""
        self.count += 1
        self.total += hashed

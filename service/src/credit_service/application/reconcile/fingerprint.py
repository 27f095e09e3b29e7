"""Sums of hashes: two sides that tell of the same things, in whatever order, have the same sum."""

from dataclasses import dataclass
from hashlib import blake2b

from credit_service.domain.event import Place


def hash_of_message(place: Place, key: bytes, content: bytes) -> int:
    """Stands for one decided message: where it lies, its idempotency key, and the hash of what it says."""
    head = b"%d:%s:%d:%d:" % (len(place.topic), place.topic.encode(), place.partition, place.offset)
    return _number(head, key + content)


def hash_of_event(event_id: str, key: bytes | None, value: bytes | None) -> int:
    """Stands for one outgoing event, byte for byte."""
    return _number(b"%d:%s:%d:" % (len(event_id), event_id.encode(), len(key or b"")), (key or b"") + (value or b""))


def _number(head: bytes, rest: bytes) -> int:
    return int.from_bytes(blake2b(head + rest, digest_size=16).digest())


@dataclass(slots=True)
class Fingerprint:
    """How many things, and the sum of their hashes. A thing that is there twice counts twice."""

    count: int = 0
    total: int = 0

    def add(self, hashed: int) -> None:
        """One thing more."""
        self.count += 1
        self.total += hashed

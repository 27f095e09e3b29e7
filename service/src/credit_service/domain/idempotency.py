"""One effect per event: the key that names an attempt, and the hash that tells whether it says the same."""

from hashlib import blake2b

from pydantic_core import to_json

from credit_contracts.incoming import IncomingData

CONTENT_VERSION = 1
"""The rule of `content_of`, stored beside each hash: a later rule must not turn old repeats into conflicts."""


def key_of(source: str, event_id: str) -> bytes:
    """16 bytes that stand for CloudEvents `source` + `id`; unique within an account."""
    return blake2b(f"{len(source)}:{source}{event_id}".encode(), digest_size=16).digest()


def content_of(event_type: str, data: IncomingData) -> bytes:
    """16 bytes that stand for the type and the known fields in the model's order; absent and null are the same."""
    return blake2b(b"%s\n%s" % (event_type.encode(), to_json(data, exclude_none=True)), digest_size=16).digest()

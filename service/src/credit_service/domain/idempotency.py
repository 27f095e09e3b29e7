"""One effect per event: its key, and the hash of its content, which shows whether a repeat is the same."""

from hashlib import blake2b

from pydantic_core import to_json

from credit_contracts.incoming import IncomingData

CONTENT_VERSION = 1
"""The version of `content_of`, stored with each hash: a later version must not turn old repeats into conflicts."""


def key_of(source: str, event_id: str) -> bytes:
    """The key of CloudEvents `source` + `id`, 16 bytes; unique within an account."""
    return blake2b(f"{len(source)}:{source}{event_id}".encode(), digest_size=16).digest()


def content_of(event_type: str, data: IncomingData) -> bytes:
    """The hash, 16 bytes, of the type and the known fields in the model's order; absent and null are the same."""
    return blake2b(b"%s\n%s" % (event_type.encode(), to_json(data, exclude_none=True)), digest_size=16).digest()

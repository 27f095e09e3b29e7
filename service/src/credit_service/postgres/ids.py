"""Ids as the ledger's rows store them: a UUID, which most ids are, as its 16 bytes instead of 36 characters.

Any other id is its UTF-8; one that is 16 bytes long is prefixed by a zero byte, with which no id begins. The database
has the same functions as `credits.packed` and `credits.unpacked`.
"""

from asyncpg.pgproto.pgproto import UUID

UUID_CHARACTERS, UUID_BYTES = 36, 16
MARK = b"\0"


def packed(text: str) -> bytes:
    """The id as rows store it."""
    if len(text) == UUID_CHARACTERS:
        try:
            uuid = UUID(text)
        except ValueError:
            pass
        else:
            # Not a UUID in capitals, for example: unpacking has to return the same text.
            if str(uuid) == text:
                packed_uuid: bytes = uuid.bytes
                return packed_uuid
    plain = text.encode()
    return MARK + plain if len(plain) == UUID_BYTES else plain


def unpacked(kept: bytes) -> str:
    """The id of which `packed` made these bytes."""
    if len(kept) == UUID_BYTES:
        return str(UUID(kept))
    return kept.removeprefix(MARK).decode()

"""Ids as the rows of the ledger keep them: a UUID, which most ids are, in its 16 bytes instead of 36 characters.

Any other id is its UTF-8; one that is 16 bytes long has a zero before it, which no id begins with. The database has
the same as `credits.packed` and `credits.unpacked`.
"""

from asyncpg.pgproto.pgproto import UUID

UUID_CHARACTERS, UUID_BYTES = 36, 16
MARK = b"\0"


def packed(text: str) -> bytes:
    """The id as rows keep it."""
    if len(text) == UUID_CHARACTERS:
        try:
            uuid = UUID(text)
        except ValueError:
            pass
        else:
            # Not a UUID in capitals, say: the text has to come back as it was.
            if str(uuid) == text:
                packed_uuid: bytes = uuid.bytes
                return packed_uuid
    plain = text.encode()
    return MARK + plain if len(plain) == UUID_BYTES else plain


def unpacked(kept: bytes) -> str:
    """The id that `packed` was given."""
    if len(kept) == UUID_BYTES:
        return str(UUID(kept))
    return kept.removeprefix(MARK).decode()

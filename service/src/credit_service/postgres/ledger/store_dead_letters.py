"""The dead letters that a transaction writes, within the bytes that a topic and day may take."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from credit_contracts.topics import DEAD_LETTER_TOPIC
from credit_service import bounds
from credit_service.application.kept_record import hashes_of, headers_as_json
from credit_service.application.ports import DeadLetter
from credit_service.domain.event import Incoming
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Connection

BIGINT_MAX = 2**63 - 1
"""The largest bigint: a batch's first timestamp and a record's delta may add up to more."""


async def store_dead_letters(
    connection: "Connection", letters: Sequence[DeadLetter], bytes_per_day: int
) -> Counter[str]:
    """Writes the dead letters, and returns by topic how many are kept without their bytes."""
    if not letters:
        return Counter()
    columns = zip(*map(_row, letters), strict=True)
    limits = (DEAD_LETTER_TOPIC, bytes_per_day, bounds.LEFT_OUT_KEY_BYTES_MAX)
    return Counter(dict(await connection.fetch(sql("store_dead_letters"), *columns, *limits)))


def _row(letter: DeadLetter) -> tuple[object, ...]:
    record, known = letter.record, letter.record.withheld
    if known is None:
        digest, content = hashes_of(record.key, record.value, record.headers)
        hashes = digest, None if letter.is_encoded_anew else content
    else:
        hashes = known.digest, known.content_sha256
    account_id = record.content.account_id if isinstance(record.content, Incoming) else None
    return (
        record.place.topic,
        record.place.partition,
        record.place.offset,
        hashes[0],
        letter.reason,
        letter.detail[: bounds.LETTER_DETAIL_CHARACTERS_MAX],
        account_id,
        record.key,
        record.value,
        headers_as_json(record.headers),
        min(max(-BIGINT_MAX, record.timestamp_ms), BIGINT_MAX),
        hashes[1],
        known is not None,
        known.key_bytes if known else None,
        known.value_bytes if known else None,
        known.value_sha256 if known else None,
    )

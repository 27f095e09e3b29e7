"""Messages of the formats v0 and v1, which clients wrote before Kafka 0.11."""

from __future__ import annotations

from aiokafka.record.legacy_records import LegacyRecordBatchBuilder


def message_set(magic: int, value: bytes, key: bytes | None = None) -> bytes:
    """One message in format v0 or v1."""
    assert magic in (0, 1)
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=0, batch_size=2**20)
    builder.append(0, timestamp=1_700_000_000_000, key=key, value=value)
    return bytes(builder.build())

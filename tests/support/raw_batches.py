"""Record batches as bytes: what no client of ours would write, and a broker takes all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from pathlib import Path

    from credit_contracts.envelope import Headers

PLACEHOLDER = "a-name-of-these-bytes"
_CRC, _ATTRIBUTES = slice(17, 21), 21
_FIRST_RECORD = 61
_TIMEOUT_MS = 10_000


def batch_with_header_name(name: bytes, value: bytes, headers: Headers, key: bytes) -> bytes:
    """A batch of one record with one more header, whose name is these bytes, UTF-8 or not; its checksum is right."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**20,
    )
    placeholder = PLACEHOLDER[: len(name)]
    assert len(placeholder) == len(name)
    builder.append(0, timestamp=None, key=key, value=value, headers=[*headers, (placeholder, b"")])
    batch = bytearray(builder.build())
    assert batch.count(placeholder.encode()) == 1
    return with_right_checksum(batch.replace(placeholder.encode(), name))


def with_right_checksum(batch: bytearray) -> bytes:
    """The batch with the checksum that its bytes have."""
    batch[_CRC] = calc_crc32c(bytes(batch[_ATTRIBUTES:])).to_bytes(4, "big")
    assert DefaultRecordBatch(bytes(batch)).validate_crc()
    return bytes(batch)


async def produce_batch(kafka: str, topic: str, partition: int, batch: bytes) -> int:
    """Has the broker append the batch as it is; the offset of its first record."""
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    try:
        await client.set_topics([topic])
        node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(None, -1, _TIMEOUT_MS, [(topic, [(partition, batch)])])
        ((_, ((_, error, offset, *_),)),) = (await client.send(node, request)).topics
    finally:
        await client.close()
    assert not error, f"the broker answers with error {error}"
    at: int = offset
    return at


def flip_a_byte(broker_folder: Path, topic: str, partition: int, offset: int) -> None:
    """Changes one byte of the first record of the batch that begins at `offset`, where the broker keeps it; done once
    more, it is as it was.
    """
    (segment,) = (broker_folder / f"{topic}-{partition}").glob("*.log")
    with segment.open("r+b") as log:
        while int.from_bytes(header := log.read(12)[:8], "big") != offset:
            log.seek(-4, 1)
            log.seek(int.from_bytes(log.read(4), "big"), 1)
            assert header, f"no batch begins at {offset}"
        at = log.tell() - 12 + _FIRST_RECORD
        log.seek(at)
        byte = log.read(1)[0]
        log.seek(at)
        log.write(bytes([byte ^ 0xFF]))

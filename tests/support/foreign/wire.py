"""Batches sent to and fetched from a broker as bytes, without a client in between."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest

from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TIMEOUT_MS = 10_000
_FETCH_BYTES_MAX = 64 * 1024 * 1024

NOT_THERE_YET = (3, 6)
"""What a broker answers that tells of a topic already, and does not have its log yet."""

CORRUPT_MESSAGE, INVALID_TIMESTAMP, INVALID_RECORD = 2, 32, 87
"""Errors that a broker answers with."""


class Refused(Exception):  # noqa: N818 - reads as what the broker did
    """The broker did not append the batch; the number is its error."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


async def append(kafka: str, topic: str, partition: int, batch: bytes) -> int:
    """Has the broker append the batch as it is; the offset of its first record. Raises `Refused`."""
    request = ProduceRequest(None, -1, _TIMEOUT_MS, [(topic, [(partition, batch)])])
    error = offset = -1
    async with _asking(kafka, topic, partition) as (client, node):

        async def is_there() -> bool:
            nonlocal error, offset
            ((_, ((_, error, offset, *_),)),) = (await client.send(node, request)).topics
            return error not in NOT_THERE_YET

        if not await is_there():
            await eventually(is_there, what=f"the log of {topic}/{partition}")
    if error:
        raise Refused(error)
    return offset


async def lying_at(kafka: str, topic: str, partition: int, offset: int) -> bytes:
    """What lies in the partition from the batch with `offset` on, as bytes, transactions open or not."""
    async with _asking(kafka, topic, partition) as (client, node):
        request = FetchRequest(_TIMEOUT_MS, 1, _FETCH_BYTES_MAX, 0, [(topic, [(partition, offset, _FETCH_BYTES_MAX)])])
        answer = await client.send(node, request)
    ((_, (told,)),) = answer.topics
    assert not told[1], f"the broker answers with error {told[1]}"
    return bytes(told[-1])


@asynccontextmanager
async def _asking(kafka: str, topic: str, partition: int) -> AsyncIterator[tuple[Any, Any]]:
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    try:
        place = TopicPartition(topic, partition)

        async def has_leader() -> bool:
            # Of a topic just made a broker may not know yet; and it answers -1 while none leads.
            await client.set_topics([topic])
            await client.force_metadata_update()
            return client.cluster.leader_for_partition(place) not in (None, -1)

        if not await has_leader():
            await eventually(has_leader, what=f"a leader of {topic}/{partition}")
        yield client, client.cluster.leader_for_partition(place)
    finally:
        await client.close()

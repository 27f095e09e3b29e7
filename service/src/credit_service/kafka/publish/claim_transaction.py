"""Publishes a claim in one Kafka transaction, which also commits the claim's id as the metadata of an offset."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from credit_service.application.ports import Claim
from credit_service.application.processing.outgoing_record import OutgoingRecord, outgoing_record
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.publish.refused_rows import REFUSED_FOR_GOOD, NotTaken, RowsRefused
from credit_service.runtime.failpoints import Failpoint

# Once one batch was refused, the answers to the others are waited for no longer than this.
SETTLE_SECONDS_MAX = 1.0

_Sent: TypeAlias = "tuple[list[int], asyncio.Future[object]]"
"""A batch: the indexes of its rows in the claim, and the broker's answer."""


class ClaimTransaction:
    """The transaction of a claim; `reach` is called at its failpoints."""

    def __init__(self, connection: KafkaConnection, reach: Failpoint) -> None:
        self._connection = connection
        self._reach = reach

    async def publish(self, claim: Claim, producer: AIOKafkaProducer) -> None:
        """Publishes the rows of the claim in one transaction, which is committed, or raises why it is not.

        Raises `RowsRefused` if Kafka refuses rows.
        """
        await producer.begin_transaction()
        by_partition = await self._by_partition(claim, producer)
        # Concurrently: a partition's second batch waits until its first one is sent.
        sent = await asyncio.gather(
            *(self._send(producer, topic, number, records) for (topic, number), records in by_partition.items()),
            return_exceptions=True,
        )
        await _settle(claim, sent)
        cursor = {TopicPartition(self._connection.cursor_topic, 0): OffsetAndMetadata(0, claim.claim_id)}
        await producer.send_offsets_to_transaction(cursor, self._connection.relay_id)
        self._reach("before-kafka-commit")
        await producer.commit_transaction()
        self._reach("after-kafka-commit")

    async def _by_partition(
        self, claim: Claim, producer: AIOKafkaProducer
    ) -> dict[tuple[str, int], list[tuple[int, OutgoingRecord]]]:
        """The records of each partition, each with the index of its row in the claim."""
        by_partition = defaultdict(list)
        counts: dict[str, int] = {}
        for place, waiting in enumerate(claim.rows):
            if waiting.topic not in counts:
                partitions = await producer.partitions_for(self._connection.topic(waiting.topic))
                counts[waiting.topic] = len(partitions)
            try:
                record = outgoing_record(waiting, counts[waiting.topic])
            except Exception as error:
                raise _not_made(place, error) from error
            by_partition[record.topic, record.partition].append((place, record))
        return by_partition

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[tuple[int, OutgoingRecord]]
    ) -> list[_Sent]:
        """Fills batches in the order of the records; each is sent once it is full."""
        name = self._connection.topic(topic)
        sent = []
        batch, places = producer.create_batch(), list[int]()
        for place, record in records:
            is_taken = _is_taken(batch, place, record)
            if not is_taken and places:
                sent.append((places, await producer.send_batch(batch, name, partition=partition)))
                batch, places = producer.create_batch(), []
                is_taken = _is_taken(batch, place, record)
            if not is_taken:
                raise RowsRefused([([place], NotTaken.__name__)])
            places.append(place)
        sent.append((places, await producer.send_batch(batch, name, partition=partition)))
        return sent


def _is_taken(batch: Any, place: int, record: OutgoingRecord) -> bool:
    """Whether the batch had room for the record."""
    try:
        taken = batch.append(key=record.key, value=record.value, headers=record.headers, timestamp=None)
    except Exception as error:
        raise _not_made(place, error) from error
    return taken is not None


def _not_made(place: int, error: Exception) -> RowsRefused:
    """A row of which the client can make no record counts as refused by the broker."""
    return RowsRefused([([place], type(error).__name__)])


async def _settle(claim: Claim, sent: Iterable[list[_Sent] | BaseException]) -> None:
    """Waits until all batches are written; raises `RowsRefused` if rows were refused, and otherwise the first error."""
    groups: list[tuple[Sequence[int], str]] = []
    failed: list[BaseException] = []
    places: dict[asyncio.Future[object], list[int]] = {}
    for one in sent:
        match one:
            case RowsRefused():
                groups += one.groups
            case BaseException():
                failed.append(one)
            case _:
                places |= {future: rows for rows, future in one}
    if places:
        _, pending = await asyncio.wait(places, return_when=asyncio.FIRST_EXCEPTION)
        if pending:
            # Other partitions may accept their batches; a batch that follows a refused one fails for another reason.
            await asyncio.wait(pending, timeout=SETTLE_SECONDS_MAX)
    taken = set()
    for future, rows in places.items():
        if not future.done():
            future.add_done_callback(_retrieve)
        elif (error := future.exception()) is None:
            taken.add(claim.rows[rows[0]].topic)
        elif isinstance(error, REFUSED_FOR_GOOD):
            groups.append((rows, type(error).__name__))
        else:
            failed.append(error)
    if groups:
        raise RowsRefused(groups, taken)
    if failed:
        raise failed[0]


def _retrieve(future: asyncio.Future[object]) -> None:
    """Retrieves the exception: asyncio would log one that is never retrieved."""
    if not future.cancelled():
        future.exception()

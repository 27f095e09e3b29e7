"""The database's part alone, on one connection: the service's way of a batch against a bare COPY of its rows.

The service's clock runs while it loads, decides, stores and commits; the floor's while it copies and commits.
Reading the messages is on neither. Prints both as JSON, with the number of statements that the service sends a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, ClassVar

import asyncpg
from aiokafka import ConsumerRecord

from benchmarks.floor import Rows, copy
from benchmarks.mix import Mix
from benchmarks.yardstick import deployment
from credit_contracts.topics import INCOMING_TOPICS, PARTITIONS, partition_for
from credit_service.application.processing.processor import Processor
from credit_service.application.record import read_record
from credit_service.bootstrap.garbage_collection import collect_seldom
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.kafka.consume.turns import IntakeBounds
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.pool import open_pool
from credit_service.postgres.session import SESSION
from credit_service.runtime.loop import run_in_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.mix import Message
    from benchmarks.one_transaction import Pool

    Batches = list[list[ConsumerRecord]]

BATCH_RECORDS = IntakeBounds().batch_records_max
POSITIONS = {(topic, number): 0 for topic in INCOMING_TOPICS for number in range(PARTITIONS)}


class CountingConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """Counts what is sent; COPY too, which asyncpg's query loggers do not see."""

    sent: ClassVar[Counter[str]] = Counter()

    async def copy_records_to_table(self, table_name: str, **options: object) -> str:
        """As asyncpg's, counted."""
        self.sent["COPY"] += 1
        done: str = await super().copy_records_to_table(table_name, **options)
        return done


async def _count(connection: CountingConnection) -> None:
    connection.add_query_logger(lambda query: CountingConnection.sent.update([_kind(query.query)]))


def _kind(statement: str) -> str:
    """Its first word; the service's statements have a line of comment before it."""
    return next(line for line in statement.splitlines() if line and not line.startswith("--")).split()[0].strip(";")


async def _leave_as_it_is(_: object) -> None:
    """A reset would count as a statement; the service's own pool does without."""


def consumed(messages: Iterable[Message]) -> Iterator[ConsumerRecord]:
    """The messages as they would come from Kafka."""
    offsets = POSITIONS.copy()
    for m in messages:
        place = (m.type, partition_for(m.key, PARTITIONS))
        sizes = (len(m.key), len(m.value))
        yield ConsumerRecord(*place, offsets[place], 0, 0, m.key, m.value, None, *sizes, m.headers)
        offsets[place] += 1


class Service:
    """The service's processor, which goes on from batch to batch on whichever pool it is given."""

    def __init__(self) -> None:
        self._positions = POSITIONS.copy()

    async def seconds(self, pool: Pool, batches: Batches) -> float:
        """How long it takes over the batches."""
        rules = Rules()
        processor = Processor(PostgresLedger(pool, unparked_max=rules.unparked_max), rules)
        processor.positions.update(self._positions)
        seconds = 0.0
        for batch in batches:
            records = [
                read_record(Place(r.topic, r.partition, r.offset), r.topic, r.key, r.value, r.headers, r.timestamp)
                for r in batch
            ]
            began = time.perf_counter()
            await processor.process(records, asyncio.Event())
            seconds += time.perf_counter() - began
        self._positions = dict(processor.positions)
        return seconds


async def service_seconds(database_url: str, batches: Batches, service: Service) -> float:
    """How long the service takes over the batches."""
    async with open_pool(database_url) as pool:
        await PostgresOffsetStore(pool).open(POSITIONS)
        return await service.seconds(pool, batches)


async def statements(
    database_url: str, first: list[ConsumerRecord], counted: list[ConsumerRecord], service: Service
) -> Counter[str]:
    """How many the service sends for a batch, by kind; before it comes one on which asyncpg asks for types."""
    pool = asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=1,
        connection_class=CountingConnection,
        init=_count,
        server_settings=SESSION,
        reset=_leave_as_it_is,
    )
    async with pool:
        await service.seconds(pool, [first])
        CountingConnection.sent.clear()
        await service.seconds(pool, [counted])
    return CountingConnection.sent


async def floor_seconds(database_url: str, batches: Batches) -> float:
    """How long a bare COPY of their rows takes."""
    rows = Rows()
    connection = await asyncpg.connect(database_url)
    try:
        seconds = 0.0
        for batch in batches:
            made = rows.of(batch)
            began = time.perf_counter()
            await copy(connection, made)
            seconds += time.perf_counter() - began
        return seconds
    finally:
        await connection.close()


def _batches(messages: list[ConsumerRecord]) -> Batches:
    return [messages[at : at + BATCH_RECORDS] for at in range(0, len(messages), BATCH_RECORDS)]


async def measure(accounts: int, events: int, floor_first: bool) -> dict[str, object]:
    """Messages a second of both, one after the other, in one database; then the statements of one batch more."""
    mix = Mix(accounts=accounts, seed=accounts)
    coming = consumed(chain(mix.plans(), mix.events(events + 2 * BATCH_RECORDS)))
    messages = list(islice(coming, accounts + events))
    collect_seldom()
    url, service = deployment().database_url, Service()
    seconds: dict[str, float] = {}
    for name in sorted(("service", "floor"), reverse=not floor_first):
        if name == "floor":
            seconds[name] = await floor_seconds(url, _batches(messages))
        else:
            seconds[name] = await service_seconds(url, _batches(messages), service)
    first, second = _batches(list(coming))
    counted = await statements(url, first, second, service)
    return {
        "messages_per_second": {name: len(messages) / spent for name, spent in seconds.items()},
        "statements": {
            "messages": BATCH_RECORDS,
            "statements": counted.total(),
            "per_message": counted.total() / BATCH_RECORDS,
            "by_kind": dict(counted),
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--floor-first", action="store_true")
    given = parser.parse_args()
    sys.stdout.write(json.dumps(run_in_loop(measure(given.accounts, given.events, given.floor_first))))

"""The database's part alone, on one connection: the service's way of a batch against a bare COPY of its rows.

The service's clock runs while it loads, decides, stores and commits; the floor's while it copies and commits.
Reading the messages is on neither. Prints both as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

import asyncpg
import uvloop
from aiokafka import ConsumerRecord

from benchmarks.floor import Rows, copy
from benchmarks.mix import Mix
from benchmarks.yardstick import deployment
from credit_contracts.topics import INCOMING_TOPICS, PARTITIONS, partition_for
from credit_service.application.process import Processor
from credit_service.application.record import read_record
from credit_service.domain.decide import Rules
from credit_service.domain.decision import Place
from credit_service.postgres.ledger import PostgresLedger
from credit_service.postgres.offsets import PostgresOffsetStore
from credit_service.postgres.pool import open_pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.mix import Message

BATCH_RECORDS = 2_000


def consumed(messages: Iterable[Message]) -> Iterator[ConsumerRecord]:
    """The messages as they would come from Kafka."""
    offsets = dict.fromkeys(((topic, number) for topic in INCOMING_TOPICS for number in range(PARTITIONS)), 0)
    for m in messages:
        place = (m.type, partition_for(m.key, PARTITIONS))
        sizes = (len(m.key), len(m.value))
        yield ConsumerRecord(*place, offsets[place], 0, 0, m.key, m.value, None, *sizes, m.headers)
        offsets[place] += 1


async def service_seconds(database_url: str, batches: list[list[ConsumerRecord]]) -> float:
    """How long the service takes over the batches."""
    positions = {(topic, number): 0 for topic in INCOMING_TOPICS for number in range(PARTITIONS)}
    rules = Rules()
    async with open_pool(database_url) as pool:
        await PostgresOffsetStore(pool).open(positions)
        processor = Processor(PostgresLedger(pool, unparked_max=rules.unparked_max), rules)
        processor.positions.update(positions)
        seconds = 0.0
        for batch in batches:
            records = [
                read_record(Place(r.topic, r.partition, r.offset), r.topic, r.key, r.value, r.headers, r.timestamp)
                for r in batch
            ]
            began = time.perf_counter()
            await processor.process(records, asyncio.Event())
            seconds += time.perf_counter() - began
        return seconds


async def floor_seconds(database_url: str, batches: list[list[ConsumerRecord]]) -> float:
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


async def measure(accounts: int, events: int, floor_first: bool) -> dict[str, float]:
    """Messages a second of both, one after the other, in one database."""
    mix = Mix(accounts=accounts, seed=accounts)
    messages = list(consumed([*mix.plans(), *mix.events(events)]))
    batches = [messages[at : at + BATCH_RECORDS] for at in range(0, len(messages), BATCH_RECORDS)]
    url = deployment().database_url
    ways = {"service": service_seconds, "floor": floor_seconds}
    order = sorted(ways, reverse=not floor_first)
    return {name: len(messages) / await ways[name](url, batches) for name in order}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--floor-first", action="store_true")
    given = parser.parse_args()
    sys.stdout.write(json.dumps(uvloop.run(measure(given.accounts, given.events, given.floor_first))))

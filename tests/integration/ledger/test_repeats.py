"""A replay: what was decided before is recognised without a lock, and what is new among it is decided."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from credit_contracts import INCOMING_TOPICS, Event, IncomingData, PlanChanged, ProspectGenerated, encode
from credit_contracts.naming import topic_name
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.pool import open_pool
from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEGAN = datetime.now(UTC) - timedelta(hours=1)
LIMIT_SECONDS = 60


class Topic:
    """Records as they lie in Kafka; to be read from the beginning as often as one likes."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, event_id: str, data: IncomingData) -> None:
        event_type = topic_name(type(data))
        encoded = encode(Event("/test", event_id, event_type, BEGAN + timedelta(seconds=len(self.records)), data))
        place = Place(event_type, 0, sum(r.place.topic == event_type for r in self.records))
        self.records.append(read_record(place, event_type, encoded.key, encoded.value, encoded.headers, 0))

    def generate(self, account: str, prospect: str, event_id: str | None = None) -> None:
        self.add(event_id or f"{account} {prospect}", ProspectGenerated(account_id=account, prospect_id=prospect))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def processor(pool: asyncpg.Pool[asyncpg.Record]) -> Processor:
    rules = Rules()
    processor = Processor(PostgresLedger(pool, unparked_max=rules.unparked_max), rules)
    processor.positions.update({(topic, 0): 0 for topic in INCOMING_TOPICS})
    await PostgresOffsetStore(pool).open(processor.positions)
    return processor


@pytest.fixture
def topic() -> Topic:
    topic = Topic()
    for account in ("acme", "bolt"):
        topic.add(f"{account} plan", PlanChanged(account_id=account, plan_id="p", monthly_credits=10))
        topic.generate(account, "ann")
    return topic


async def replay(processor: Processor, pool: asyncpg.Pool[asyncpg.Record], topic: Topic) -> dict[str, int]:
    """Reads the topic from its beginning; what became of it, by outcome and reason."""
    await pool.execute("UPDATE credits.partition_offsets SET next_offset = 0")
    processor.positions.update(dict.fromkeys(processor.positions, 0))
    report = await processor.process(topic.records, asyncio.Event())
    return {name: count for name, count in {**report.outcomes, **report.dead_letters}.items() if count}


async def test_repeats_wait_for_no_lock(
    processor: Processor, pool: asyncpg.Pool[asyncpg.Record], topic: Topic, database_url: str
) -> None:
    await replay(processor, pool, topic)
    assert await replay(processor, pool, topic) == {"duplicate": 4}
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction(), asyncio.timeout(patience(LIMIT_SECONDS)):
            await other.execute("SELECT FROM credits.accounts FOR UPDATE")
            assert await replay(processor, pool, topic) == {"duplicate": 4}
    finally:
        await other.close()


async def test_what_is_new_among_repeats_is_decided(
    processor: Processor, pool: asyncpg.Pool[asyncpg.Record], topic: Topic
) -> None:
    await replay(processor, pool, topic)
    await replay(processor, pool, topic)
    topic.generate("acme", "bob")
    topic.generate("new", "cho")

    assert await replay(processor, pool, topic) == {"duplicate": 4, "charged": 1, "parked": 1}
    assert await pool.fetchval("SELECT sum(balance)::integer FROM credits.accounts") == 17
    assert await replay(processor, pool, topic) == {"duplicate": 6}


async def test_other_content_under_a_known_key_is_a_conflict_also_among_repeats(
    processor: Processor, pool: asyncpg.Pool[asyncpg.Record], topic: Topic
) -> None:
    await replay(processor, pool, topic)
    await replay(processor, pool, topic)
    topic.generate("acme", "bob", event_id="acme ann")

    assert await replay(processor, pool, topic) == {"duplicate": 4, "conflict": 1}
    assert await pool.fetchval("SELECT count(*) FROM credits.dead_letters") == 1


async def test_a_timer_that_is_due_does_not_come_about_by_a_repeat(
    processor: Processor, pool: asyncpg.Pool[asyncpg.Record], topic: Topic
) -> None:
    await replay(processor, pool, topic)
    await pool.execute("UPDATE credits.accounts SET next_timer_at = $1", BEGAN)

    assert await replay(processor, pool, topic) == {"duplicate": 4}
    assert await replay(processor, pool, topic) == {"duplicate": 4}

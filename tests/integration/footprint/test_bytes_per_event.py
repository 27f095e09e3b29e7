"""How much the database grows by an event of the usual mix: rows and indexes are kept small, without a clock."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator

import asyncpg
import pytest

from benchmarks.mix import Message, Mix
from credit_contracts import INCOMING_TOPICS
from credit_contracts.topics import PARTITIONS, partition_for
from credit_local_stack import Stack
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.migrate import migrate
from credit_service.postgres.pool import open_pool
from support.stack import in_memory

BYTES_PER_EVENT_MAX = 600

# As the benchmarks have it: a plan for every twenty events. So many that the last, half empty pages hardly count.
ACCOUNTS = 1_000
EVENTS = 20_000
BATCH_RECORDS = 2_000

# A table with its map of free space and what is stored beside it; then each of its indexes.
SIZES = """
SELECT coalesce(t.relname, c.relname) || CASE WHEN c.relkind = 'i' THEN ' / ' || c.relname ELSE '' END AS name,
    CASE WHEN c.relkind = 'i' THEN pg_relation_size(c.oid) ELSE pg_table_size(c.oid) END AS bytes
FROM pg_class AS c
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_class AS t ON t.oid = i.indrelid
WHERE c.relnamespace = 'credits'::regnamespace AND c.relkind IN ('r', 'i')
"""

# It holds a snapshot while it looks at a table, on a busy machine for long: what was updated meanwhile takes new room.
WITHOUT_AUTOVACUUM = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'credits'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', name);
    END LOOP;
END
$$
"""


async def sizes(connection: asyncpg.Connection) -> Counter[str]:
    """Bytes by table and index of the service's schema."""
    return Counter({row["name"]: row["bytes"] for row in await connection.fetch(SIZES)})


def records_of(messages: Iterable[Message]) -> Iterator[Record]:
    """The messages as they would come from Kafka."""
    offsets: Counter[tuple[str, int]] = Counter()
    for m in messages:
        topic, number = m.type, partition_for(m.key, PARTITIONS)
        yield read_record(Place(topic, number, offsets[topic, number]), topic, m.key, m.value, m.headers, 0)
        offsets[topic, number] += 1


async def decide_all(database_url: str, connection: asyncpg.Connection, records: list[Record]) -> None:
    """Takes the records through the ledger in batches; what waits to be published is taken out after each."""
    positions = {(topic, number): 0 for topic in INCOMING_TOPICS for number in range(PARTITIONS)}
    rules = Rules()
    async with open_pool(database_url) as pool:
        await PostgresOffsetStore(pool).open(positions)
        processor = Processor(PostgresLedger(pool, unparked_max=rules.unparked_max), rules)
        processor.positions.update(positions)
        for at in range(0, len(records), BATCH_RECORDS):
            await processor.process(records[at : at + BATCH_RECORDS], asyncio.Event())
            await connection.execute("DELETE FROM credits.outbox")
            await connection.execute("VACUUM credits.outbox")


def told(grown: Counter[str], events: int) -> str:
    """Bytes an event by table and index, the largest first."""
    lines = [f"{size / events:8.1f}  {name}" for name, size in grown.most_common() if size]
    return "\n".join(["bytes an event", *lines, f"{grown.total() / events:8.1f}  in all"])


@pytest.fixture
def own_database_url() -> Iterator[str]:
    """On a server that nobody else writes to: while a transaction that wrote something is open, in whichever database,
    rows that are updated take new room in all of them.
    """
    with Stack(scratch=in_memory()) as stack:
        migrate(stack.database_url)
        yield stack.database_url


@pytest.mark.footprint
@pytest.mark.local_stack
@pytest.mark.xdist_group("own_stack")
async def test_an_event_takes_few_bytes(own_database_url: str) -> None:
    mix = Mix(accounts=ACCOUNTS, seed=1)
    records = list(records_of([*mix.plans(), *mix.events(EVENTS)]))
    connection = await asyncpg.connect(own_database_url)
    try:
        await connection.execute(WITHOUT_AUTOVACUUM)
        empty = await sizes(connection)
        await decide_all(own_database_url, connection, records)
        await connection.execute("VACUUM")
        decided = await connection.fetchval("SELECT count(*) FROM credits.decisions")
        grown = await sizes(connection)
    finally:
        await connection.close()
    assert decided == len(records)
    grown.subtract(empty)
    bytes_per_event = grown.total() / len(records)
    assert bytes_per_event <= BYTES_PER_EVENT_MAX, told(grown, len(records))

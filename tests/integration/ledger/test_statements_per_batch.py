"""No round trip per event: a batch of five hundred takes as many statements as a batch of one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar, NamedTuple

import asyncpg
import pytest

from credit_contracts import (
    INCOMING_TOPICS,
    CreditsPurchased,
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
    encode,
)
from credit_contracts.naming import topic_name
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.session import SESSION
from credit_service.postgres.statements import sql
from support.small_bounds import small_bounds

MANY = 500
BEGAN = datetime.now(UTC) - timedelta(hours=1)


class CountingConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """Counts what is sent, COPY included, which asyncpg's query loggers do not see."""

    sent: ClassVar[Counter[str]] = Counter()

    async def copy_records_to_table(self, table_name: str, **options: object) -> str:
        self.sent[f"COPY {table_name}"] += 1
        done: str = await super().copy_records_to_table(table_name, **options)
        return done


async def count_queries(connection: CountingConnection) -> None:
    connection.add_query_logger(lambda query: CountingConnection.sent.update([query.query]))


@pytest.fixture
async def pool(database_url: str) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    async with asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=1,
        connection_class=CountingConnection,
        init=count_queries,
        server_settings=SESSION,
    ) as pool:
        yield pool


class Producer:
    """Makes records with places of their own."""

    def __init__(self) -> None:
        self._offsets: Counter[str] = Counter()
        self._sent = 0

    def record(self, data: IncomingData) -> Record:
        event_type = topic_name(type(data))
        self._sent += 1
        event = Event("/test", f"e{self._sent}", event_type, BEGAN + timedelta(milliseconds=self._sent), data)
        encoded = encode(event)
        return read_record(self._next(event_type), event_type, encoded.key, encoded.value, encoded.headers, 0)

    def again(self, records: Iterable[Record]) -> list[Record]:
        """The same messages, sent once more."""
        return [read_record(self._next(r.place.topic), r.place.topic, r.key, r.value, r.headers, 0) for r in records]

    def _next(self, event_type: str) -> Place:
        place = Place(event_type, 0, self._offsets[event_type])
        self._offsets[event_type] += 1
        return place


@pytest.fixture
async def processor(pool: "asyncpg.Pool[asyncpg.Record]") -> Processor:
    rules = Rules()
    positions = {(topic, 0): 0 for topic in INCOMING_TOPICS}
    await PostgresOffsetStore(pool).open(positions)
    processor = Processor(PostgresLedger(pool, unparked_max=rules.unparked_max), rules)
    processor.positions.update(positions)
    return processor


async def statements_of(processor: Processor, records: Iterable[Record]) -> Counter[str]:
    """What one batch sends to the database."""
    CountingConnection.sent.clear()
    await processor.process(list(records), asyncio.Event())
    return CountingConnection.sent.copy()


def plans(producer: Producer, accounts: range) -> Iterator[Record]:
    for n in accounts:
        yield producer.record(PlanChanged(account_id=f"a{n}", plan_id="p", monthly_credits=2))


def generated(producer: Producer, accounts: range, prospect: str) -> Iterator[Record]:
    for n in accounts:
        yield producer.record(ProspectGenerated(account_id=f"a{n}", prospect_id=prospect))


def of_every_kind(producer: Producer, accounts: range, prospect: str) -> Iterator[Record]:
    """Every topic, on prospects that are new and on one that is stored; the last is declined."""
    for n in accounts:
        account = f"a{n}"
        yield producer.record(ProspectImported(account_id=account, prospect_id=f"{prospect}-imported"))
        yield producer.record(ProspectTransferred(account_id=account, prospect_id=f"{prospect}-imported"))
        yield producer.record(ProspectStageChanged(account_id=account, prospect_id="stored", stage="wrong-email"))
        yield producer.record(ProspectGenerated(account_id=account, prospect_id=prospect))
        yield producer.record(ProspectExported(account_id=account, prospect_id=prospect))
        yield producer.record(EmailBounced(account_id=account, prospect_id="stored"))
        yield producer.record(ProspectGenerated(account_id=account, prospect_id=f"{prospect}-2"))
        yield producer.record(ProspectDeleted(account_id=account, prospect_id="stored"))
        yield producer.record(CreditsPurchased(account_id=account, purchase_id=f"{prospect}-bought", credits=1))
        yield producer.record(ProspectExported(account_id=account, prospect_id=f"{prospect}-3"))
        yield producer.record(ProspectExported(account_id=account, prospect_id=f"{prospect}-4"))


# The first, on which asyncpg asks for types; then one more, and many more.
FIRST, ONE, MORE = range(1), range(1, 2), range(2, 2 + MANY)


async def test_first_plans_take_as_many_statements_for_one_account_as_for_hundreds(processor: Processor) -> None:
    producer = Producer()
    await statements_of(processor, plans(producer, FIRST))
    of_one = await statements_of(processor, plans(producer, ONE))
    assert of_one["COMMIT;"] == of_one["COPY grants"] == 1
    assert await statements_of(processor, plans(producer, MORE)) == of_one


async def test_events_take_as_many_statements_for_one_account_as_for_hundreds(processor: Processor) -> None:
    producer = Producer()
    for accounts in (FIRST, ONE, MORE):
        await processor.process(list(plans(producer, accounts)), asyncio.Event())
        await processor.process(list(generated(producer, accounts, "stored")), asyncio.Event())
    await statements_of(processor, of_every_kind(producer, FIRST, "new"))
    of_one = await statements_of(processor, of_every_kind(producer, ONE, "new"))
    assert of_one["COMMIT;"] == of_one["COPY decisions"] == of_one["COPY entries"] == 1
    assert await statements_of(processor, of_every_kind(producer, MORE, "new")) == of_one


async def test_parked_events_take_as_many_statements_for_one_account_as_for_hundreds(processor: Processor) -> None:
    producer = Producer()
    await statements_of(processor, generated(producer, FIRST, "early"))
    await statements_of(processor, plans(producer, FIRST))
    parked_of_one = await statements_of(processor, generated(producer, ONE, "early"))
    assert parked_of_one["COPY parked_events"] == 1
    assert await statements_of(processor, generated(producer, MORE, "early")) == parked_of_one
    unparked_of_one = await statements_of(processor, plans(producer, ONE))
    assert unparked_of_one["COPY decisions"] == 1
    assert await statements_of(processor, plans(producer, MORE)) == unparked_of_one


async def test_dead_letters_take_one_statement_and_a_batch_without_them_takes_none(processor: Processor) -> None:
    producer = Producer()

    def broken(accounts: range) -> list[Record]:
        """Each with a good one beside it."""
        good = list(generated(producer, accounts, "p"))
        for n in accounts:
            one = producer.record(EmailBounced(account_id=f"a{n}", prospect_id="p"))
            good.append(read_record(one.place, one.place.topic, one.key, b"{" * 100, one.headers, 0))
        return good

    await statements_of(processor, plans(producer, range(2 + 2 * MANY)))
    await statements_of(processor, broken(FIRST))
    of_one = await statements_of(processor, broken(ONE))
    assert of_one.pop(sql("store_dead_letters")) == 1
    of_many = await statements_of(processor, broken(MORE))
    assert of_many.pop(sql("store_dead_letters")) == 1
    assert of_many == of_one
    after = range(2 + MANY, 2 + 2 * MANY)
    without = await statements_of(processor, generated(producer, after, "p"))
    assert without == of_one


async def test_redelivered_events_take_as_many_statements_for_one_as_for_hundreds(processor: Processor) -> None:
    producer = Producer()
    one, many = [[*plans(producer, accounts), *generated(producer, accounts, "p")] for accounts in (ONE, MORE)]
    for batch in (one, many):
        await processor.process(batch, asyncio.Event())
    of_one = await statements_of(processor, producer.again(one))
    assert of_one["COPY decisions"] == 0
    expected_of_one = await statements_of(processor, producer.again(one))
    expected_of_many = await statements_of(processor, producer.again(many))
    assert expected_of_many == expected_of_one
    assert expected_of_one[sql("load_repeats")] == 1
    assert expected_of_one[sql("lock_accounts")] == 0
    await statements_of(processor, generated(producer, ONE, "new"))
    assert await statements_of(processor, producer.again(many)) == of_one


# --- accounts with much that waits

WAITING = 1_200
TEN = range(10)
ROWS_READ = """
SELECT (
    (SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables)
    + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
)::bigint
"""


class Counted(NamedTuple):
    """What a batch sends to the database, and how many rows that reads."""

    statements: Counter[str]
    rows: int

    def costs_no_more_than(self, other: "Counted") -> bool:
        """The same statements; of rows a few more, as the planner chooses, and not those of one account that waits."""
        return self.statements == other.statements and self.rows < other.rows + WAITING


@pytest.fixture
async def count(
    pool: "asyncpg.Pool[asyncpg.Record]", processor: Processor
) -> Callable[[list[Record]], Awaitable[Counted]]:
    async def rows_read() -> int:
        # The statistics are those of the one session there is.
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            rows: int = await connection.fetchval(ROWS_READ)
            return rows

    # So that asking costs the same each time.
    await rows_read()

    async def counted(records: list[Record]) -> Counted:
        before = await rows_read()
        statements = await statements_of(processor, records)
        return Counted(statements, await rows_read() - before)

    return counted


async def test_events_that_wait_cost_the_batches_beside_them_and_behind_them_nothing(
    pool: "asyncpg.Pool[asyncpg.Record]", count: Callable[[list[Record]], Awaitable[Counted]]
) -> None:
    """Also those of the same accounts: what only queues asks for its own key, and how many there are."""
    producer, beside = Producer(), range(100, 110)
    await count([*plans(producer, beside), *generated(producer, TEN, "first")])
    for name in ("asyncpg asks for types", "warm"):
        await count(list(generated(producer, beside, name)))
        await count(list(generated(producer, TEN, name)))
    few_beside = await count(list(generated(producer, beside, "few")))
    few_behind = await count(list(generated(producer, TEN, "few")))
    assert few_behind.statements["COPY parked_events"] == 1

    for n in range(0, WAITING, 300):
        await count([one for p in range(n, n + 300) for one in generated(producer, TEN, f"p{p}")])
    assert await pool.fetchval("SELECT min(parked) FROM credits.accounts WHERE parked > 0") > WAITING
    await pool.execute("ANALYZE credits.parked_events, credits.accounts, credits.decisions")

    assert (await count(list(generated(producer, beside, "many")))).costs_no_more_than(few_beside)
    assert (await count(list(generated(producer, TEN, "many")))).costs_no_more_than(few_behind)


async def test_a_backlog_that_is_worked_off_costs_what_queues_behind_it_nothing(
    pool: "asyncpg.Pool[asyncpg.Record]", count: Callable[[list[Record]], Awaitable[Counted]]
) -> None:
    """They have their plan, and what waits for it takes more than one batch."""
    producer = Producer()
    for name in ("a", "b", "c"):
        await count(list(generated(producer, TEN, name)))
    with small_bounds(UNPARKED_PER_BATCH_MAX=10):
        await count(list(plans(producer, TEN)))
    for name in ("asyncpg asks for types", "warm"):
        await count(list(generated(producer, TEN, name)))
    few = await count(list(generated(producer, TEN, "few")))
    for n in range(0, WAITING, 300):
        await count([one for p in range(n, n + 300) for one in generated(producer, TEN, f"p{p}")])
    assert await pool.fetchval("SELECT min(parked) FROM credits.accounts WHERE period_number IS NOT NULL") > WAITING
    await pool.execute("ANALYZE credits.parked_events, credits.accounts, credits.decisions")

    assert (await count(list(generated(producer, TEN, "many")))).costs_no_more_than(few)

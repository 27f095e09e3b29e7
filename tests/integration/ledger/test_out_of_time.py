"""A transaction that takes longer than it may is tried in halves: what is too large does not wait for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from credit_contracts import Event, PlanChanged, encode
from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.dead_letters.desk import DeadLetterDesk
from credit_service.application.dead_letters.model import Letters
from credit_service.application.errors import LedgerUnavailable, OutOfTime
from credit_service.application.opening.opening import Opening
from credit_service.application.opening.rows import Row
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain.command import OpenAccount, command_of
from credit_service.domain.event import Place, Wake
from credit_service.domain.rules import Rules
from credit_service.kafka.ranges.unpack import BatchInFile
from credit_service.postgres import session as session_module
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.operator.dead_letters import PostgresDeadLetters
from credit_service.postgres.operator.operations import PostgresOperationLog
from credit_service.postgres.pool import open_pool
from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from credit_service.postgres.pool import Pool

TOPIC = "plan-changed"
TOGETHER_MAX = 4
LIMIT_SECONDS = 90
NOW = datetime.now(UTC)

# As if each row took its time: more than a few together take longer than any statement may.
SLOW = f"""
CREATE FUNCTION credits.be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM new_rows) > {TOGETHER_MAX} THEN
        PERFORM pg_sleep(3600);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER slow AFTER INSERT ON credits.decisions
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION credits.be_slow();
"""


@pytest.fixture
async def slow(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(SLOW)
    finally:
        await connection.close()
    return database_url


@pytest.fixture
async def pool(slow: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    monkeypatch.setitem(session_module.SESSION, "statement_timeout", "1s")
    async with open_pool(slow) as pool:
        yield pool


def plans(number: int, at: datetime = NOW) -> list[Record]:
    records = []
    for offset in range(number):
        data = PlanChanged(account_id=f"a{offset:03}", plan_id="p", monthly_credits=9)
        encoded = encode(Event("/test", f"e-{offset}", TOPIC, at, data))
        place = Place(TOPIC, 0, offset)
        records.append(read_record(place, TOPIC, encoded.key, encoded.value, encoded.headers, 0))
    return records


async def outcomes(pool: Pool) -> Counter[str]:
    return Counter(row[0] for row in await pool.fetch("SELECT outcome::text FROM credits.decisions"))


@pytest.mark.parametrize("which", ["statement", "transaction", "client"])
async def test_a_batch_is_halved_whoever_ends_it(slow: str, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if which == "client":
        monkeypatch.setattr(session_module, "COMMAND_TIMEOUT_SECONDS", 1)
    else:
        monkeypatch.setitem(session_module.SESSION, f"{which}_timeout", "1s")
    async with open_pool(slow) as pool, asyncio.timeout(patience(LIMIT_SECONDS)):
        processor = Processor(PostgresLedger(pool, unparked_max=100), Rules())
        processor.positions[TOPIC, 0] = 0
        await PostgresOffsetStore(pool).open(processor.positions)
        report = await processor.process(plans(12), asyncio.Event())

        assert (report.events, report.dead_letters) == (12, Counter())
        assert processor.retries >= 2
        assert await outcomes(pool) == {"plan-in-force": 12}
        assert await PostgresOffsetStore(pool).load(processor.positions) == {(TOPIC, 0): 12}


async def test_timers_are_halved(pool: Pool) -> None:
    async with asyncio.timeout(patience(LIMIT_SECONDS)):
        processor = Processor(PostgresLedger(pool, unparked_max=100), Rules(), moves_offsets=False)
        for record in plans(2, NOW - timedelta(days=200)):
            await processor.process([record], asyncio.Event())
        report = await processor.wake([Wake("a000", NOW, 60), Wake("a001", NOW, 60)], asyncio.Event())

        assert (report.wakes, report.failed) == (2, set())
        assert (await outcomes(pool))["renewed"] >= 2 * 3


async def test_rows_of_customers_are_halved(pool: Pool) -> None:
    rows = [
        Row(n + 2, "account", command_of(f"a{n}", OpenAccount("p", 5, None, None, NOW, "UTC", 1))) for n in range(12)
    ]
    opening = Opening(PostgresLedger(pool, unparked_max=100), Rules())
    async with asyncio.timeout(patience(LIMIT_SECONDS)):
        batches = [batch async for batch in opening.batches(rows)]

    assert sum(batch.opened["account"] for batch in batches) == 12
    assert await outcomes(pool) == {"opened": 12}


async def test_letters_that_are_retried_are_halved(pool: Pool) -> None:
    async with asyncio.timeout(patience(LIMIT_SECONDS)):
        await pool.execute("ALTER TABLE credits.decisions DISABLE TRIGGER slow")
        processor = Processor(PostgresLedger(pool, unparked_max=100), Rules(), moves_offsets=False)
        # Too early for the clock, which is turned on then.
        await processor.process(plans(12, NOW + timedelta(days=1)), asyncio.Event())
        await pool.execute(
            "CREATE OR REPLACE FUNCTION credits.ledger_now() RETURNS timestamptz LANGUAGE sql STABLE"
            " RETURN clock_timestamp() + interval '2 days'"
        )
        await pool.execute("ALTER TABLE credits.decisions ENABLE TRIGGER slow")
        letters = PostgresDeadLetters(pool, unparked_max=100)
        reading = ReadProgress(PostgresLedger(pool, unparked_max=100))
        desk = DeadLetterDesk(letters, PostgresOperationLog(pool), Rules(), BatchInFile(str), reading)
        answers = [a async for batch in desk.retry(Letters(), operator="lee", reason="mended") for a in batch]

    assert [answer.outcome for answer in answers] == ["plan-in-force"] * 12
    assert await outcomes(pool) == {"plan-in-force": 12}


async def test_who_waits_for_a_lock_or_to_be_let_in_is_not_given_less(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session_module.SESSION, "lock_timeout", "10ms")
    async with open_pool(database_url) as pool, pool.acquire() as one, one.transaction():
        await one.execute("LOCK TABLE credits.accounts")
        with pytest.raises(LedgerUnavailable, match="55P03") as waited, translated_errors():
            await pool.execute("SELECT 1 FROM credits.accounts FOR UPDATE")
    assert not isinstance(waited.value, OutOfTime)

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_024):
            pass
        writer.close()
        await writer.wait_closed()

    monkeypatch.setattr(session_module, "CONNECT_TIMEOUT_SECONDS", 0.05)
    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_pool(f"postgresql://u:p@127.0.0.1:{port}/db") as pool:
            with pytest.raises(LedgerUnavailable, match="TimeoutError") as refused, translated_errors():
                await pool.fetch("SELECT 1")
    assert not isinstance(refused.value, OutOfTime)

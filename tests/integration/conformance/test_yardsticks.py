"""The bench's contenders do the same work on the same messages, and the bench knows what comes of them."""

from collections import Counter
from collections.abc import Iterable

import asyncpg
import pytest
from aiokafka import ConsumerRecord

from benchmarks import floor, one_transaction
from benchmarks.database_path import Service, consumed, service_seconds, statements
from benchmarks.deployment import CLONED, clone_tables
from benchmarks.mix import Message, Mix
from credit_contracts import Unreadable, decode

ACCOUNTS, EVENTS = 4, 120


def mix_of_all_kinds() -> list[Message]:
    mix = Mix(accounts=ACCOUNTS, seed=7)
    return [*mix.plans(), *mix.events(EVENTS)]


async def rows_of(database_url: str, schema: str) -> dict[str, int]:
    connection = await asyncpg.connect(database_url)
    try:
        return {table: await connection.fetchval(f"SELECT count(*) FROM {schema}.{table}") for table in CLONED}
    finally:
        await connection.close()


async def published(database_url: str) -> Counter[str]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT topic, count(*) FROM credits.outbox GROUP BY topic")
    finally:
        await connection.close()
    return Counter(dict(map(tuple, rows)))


async def by_service(database_url: str, messages: Iterable[Message]) -> None:
    await service_seconds(database_url, [list(consumed(messages))], Service())


async def by_floor(database_url: str, messages: Iterable[Message]) -> None:
    await clone_tables(database_url, "floor")
    connection = await asyncpg.connect(database_url)
    try:
        await floor.copy(connection, floor.Rows().of(consumed(messages)))
    finally:
        await connection.close()


async def by_one_transaction_each(database_url: str, records: Iterable[ConsumerRecord]) -> None:
    await clone_tables(database_url, "one_transaction")
    connection = await asyncpg.connect(database_url, server_settings={"search_path": "one_transaction"})
    try:
        for record in records:
            event = decode(record.headers, record.value)
            assert not isinstance(event, Unreadable)
            await one_transaction.decide(connection, record, event)
    finally:
        await connection.close()


async def test_all_contenders_write_as_many_rows_of_each_table(database_url: str) -> None:
    messages = mix_of_all_kinds()
    await by_service(database_url, messages)
    await by_floor(database_url, messages)
    await by_one_transaction_each(database_url, consumed(messages))
    of_the_service = await rows_of(database_url, "credits")
    assert of_the_service["decisions"] == ACCOUNTS + EVENTS
    assert await rows_of(database_url, "floor") == of_the_service
    assert await rows_of(database_url, "one_transaction") == of_the_service


@pytest.mark.parametrize("monthly_credits", [0, 1_000])
async def test_the_bench_knows_how_many_are_charged_and_how_many_declined(
    database_url: str, monthly_credits: int
) -> None:
    mix = Mix(accounts=ACCOUNTS, seed=8, monthly_credits=monthly_credits)
    messages = [*mix.plans(), *mix.generated(EVENTS)]
    await by_service(database_url, messages)
    assert await published(database_url) == Counter(m.published_in for m in messages if m.published_in)


async def test_the_bench_knows_which_events_of_the_mix_change_a_balance(database_url: str) -> None:
    messages = mix_of_all_kinds()
    await by_service(database_url, messages)
    assert await published(database_url) == Counter(m.published_in for m in messages if m.published_in)


async def test_all_events_can_be_on_one_account() -> None:
    mix = Mix(accounts=ACCOUNTS, seed=9)
    plans = [m.key for m in mix.plans()]
    assert len(plans) == ACCOUNTS
    assert {m.key for m in mix.events(EVENTS, accounts=1)} == {plans[0]}


async def test_statements_are_counted_of_one_batch(database_url: str) -> None:
    messages = list(consumed(mix_of_all_kinds()))
    service = Service()
    await service_seconds(database_url, [messages[:100]], service)
    counted = await statements(database_url, messages[100:110], messages[110:], service)
    assert counted["BEGIN"] == counted["COMMIT"] == 1
    assert counted["COPY"] > 1

"""What the service makes of what others write: one service takes all of it, each case in a partition of its own."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from credit_contracts.envelope import encode
from credit_contracts.incoming import PlanChanged, ProspectImported
from support.foreign import librdkafka
from support.foreign.batches import (
    CODECS,
    NO_TIMESTAMP,
    RawRecord,
    batch_of,
    bomb,
    flipped,
    with_header_name,
    with_right_checksum,
)
from support.foreign.wire import append
from support.service import Deployment
from support.stack import fresh_database, in_a_loop_of_its_own
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from credit_local_stack import Addresses

ACCOUNT = "acme"
AT = datetime.now(UTC) - timedelta(hours=1)
ABORTED = 200
TOPIC = "prospect-imported"
BOMB_BYTES = 4 * 2**20


def imported(prospect: str) -> RawRecord:
    """The event, as our own producers would send it."""
    record = encode(event(ProspectImported(account_id=ACCOUNT, prospect_id=prospect), AT))
    return RawRecord(record.value, record.key, [(name.encode(), value) for name, value in record.headers])


def with_name_not_utf8(prospect: str) -> bytes:
    record = encode(event(ProspectImported(account_id=ACCOUNT, prospect_id=prospect), AT))
    return with_header_name(b"\xff\xfe", record.value, record.headers, record.key)


def with_a_byte_flipped(prospect: str) -> bytes:
    """In the value, so that it is no JSON any more."""
    batch = batch_of([imported(prospect)])
    return with_right_checksum(flipped(batch, batch.index(b'"prospect_id"')))


def with_key(prospect: str, key: bytes) -> bytes:
    one = imported(prospect)
    return batch_of([RawRecord(one.value, key, one.headers)])


BATCHES: dict[str, bytes] = {
    **{f"codec-{codec}": batch_of([imported(f"codec-{codec}")], codec=codec) for codec in CODECS},
    "no-timestamp": batch_of([imported("no-timestamp")], timestamp_ms=NO_TIMESTAMP),
    "year-1970": batch_of([imported("year-1970")], timestamp_ms=1),
    "key-not-utf8": with_key("key-not-utf8", b"\xff\xfe"),
    "flipped": with_a_byte_flipped("flipped"),
    "header-name-not-utf8": with_name_not_utf8("header-name-not-utf8"),
    **{f"bomb-{codec}": bomb(codec, BOMB_BYTES) for codec in CODECS[1:]},
}
# One worker, so that there is one service.
pytestmark = pytest.mark.xdist_group("foreign-messages")

NUMBERS = {name: number for number, name in enumerate([*BATCHES, "aborted", "open"])}
DECIDED = [name for name in BATCHES if name.startswith("codec-")] + ["no-timestamp", "year-1970", "key-not-utf8"]
LETTERS = {"flipped": "not-json", "header-name-not-utf8": "bad-header"} | {f"bomb-{c}": "too-large" for c in CODECS[1:]}


@dataclass
class TakenIn:
    """What became of it: prospects that are decided, reasons of dead letters by partition; `while_open`: decided while
    a transaction was open."""

    decided: set[str] = field(default_factory=set)
    letters: dict[int, list[str]] = field(default_factory=dict)
    while_open: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def taken_in(stack: Addresses, database_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TakenIn]:
    with fresh_database(stack.database_url, database_template) as url:
        folder = tmp_path_factory.mktemp("foreign")
        yield in_a_loop_of_its_own(lambda: _take_in(url, stack.bootstrap_servers, folder))


async def _take_in(database_url: str, kafka: str, folder: Path) -> TakenIn:
    prefix = f"t{secrets.token_hex(4)}-"
    async with AsyncExitStack() as ended:
        deployment = await ended.enter_async_context(Deployment(database_url, kafka, prefix, folder))
        connection = await asyncpg.connect(database_url)
        ended.push_async_callback(connection.close)
        await deployment.make_topics(partitions=len(NUMBERS))
        topic = deployment.topic(TOPIC)
        async with deployment.upstream() as upstream:
            await upstream.send([event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=5), AT)])
        service = await (await deployment.start()).ready()
        for name, batch in BATCHES.items():
            await append(kafka, topic, NUMBERS[name], batch)
        aborted = _sent(topic, "aborted", imported("aborted"))
        await asyncio.to_thread(librdkafka.abort_transactions, kafka, f"{prefix}abort", aborted, ABORTED)
        found = TakenIn()
        with ExitStack() as open_:
            begun = librdkafka.open_transaction(kafka, f"{prefix}open", [_sent(topic, "open", imported("open"))])
            await asyncio.to_thread(open_.enter_context, begun)
            # One behind each, which is decided once reading goes on.
            for name, number in NUMBERS.items():
                await append(kafka, topic, number, batch_of([imported(f"behind-{name}")]))

            async def is_decided() -> bool:
                found.while_open = await _decided(connection)
                return {f"behind-{name}" for name in NUMBERS} - {"behind-open"} <= found.while_open

            await eventually(is_decided, what="all that can be read is decided")

        async def is_behind_decided() -> bool:
            found.decided = await _decided(connection)
            return "behind-open" in found.decided

        await eventually(is_behind_decided, what="what lies behind the open transaction, once it is aborted")
        for number, reason in await connection.fetch("SELECT partition, reason FROM credits.dead_letters ORDER BY 1"):
            found.letters.setdefault(number, []).append(reason)
        assert await service.terminate() == 0
    return found


def _sent(topic: str, name: str, one: RawRecord) -> librdkafka.Sent:
    return topic, NUMBERS[name], one.key, one.value or b"", [(n.decode(), v) for n, v in one.headers]


async def _decided(connection: asyncpg.Connection[asyncpg.Record]) -> set[str]:
    rows = await connection.fetch("SELECT prospect_id FROM credits.decisions_by_account WHERE type::text = $1", TOPIC)
    return {row["prospect_id"] for row in rows}


@pytest.mark.parametrize("name", DECIDED)
def test_it_is_decided(taken_in: TakenIn, name: str) -> None:
    assert {name, f"behind-{name}"} <= taken_in.decided
    assert NUMBERS[name] not in taken_in.letters


@pytest.mark.parametrize(("name", "reason"), [*LETTERS.items()])
def test_it_is_a_dead_letter_and_reading_goes_on(taken_in: TakenIn, name: str, reason: str) -> None:
    assert taken_in.letters[NUMBERS[name]] == [reason]
    assert name not in taken_in.decided
    assert f"behind-{name}" in taken_in.decided


def test_nothing_of_hundreds_of_aborted_transactions_is_decided(taken_in: TakenIn) -> None:
    assert "aborted" not in taken_in.decided
    assert "behind-aborted" in taken_in.while_open
    assert NUMBERS["aborted"] not in taken_in.letters


def test_what_lies_behind_an_open_transaction_waits_for_its_end(taken_in: TakenIn) -> None:
    assert "behind-open" not in taken_in.while_open
    assert "open" not in taken_in.decided
    assert "behind-open" in taken_in.decided

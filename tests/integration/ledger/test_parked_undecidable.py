"""An event that waited, and on which the rules fail, is a dead letter by itself: whoever let it in goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import asyncpg
import pytest

from credit_contracts import Event, IncomingData, PlanChanged, ProspectGenerated, decode, encode
from credit_contracts.naming import topic_name
from credit_service.application.commands.execute import execute
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.report import Report
from credit_service.application.record import Record, read_record
from credit_service.domain.command import Adjust, command_of
from credit_service.domain.event import Place, Wake
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from support.cursed import CURSED, curse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from credit_service.postgres.pool import Pool

BEGAN = datetime.now(UTC) - timedelta(hours=1)
PLAN = PlanChanged(account_id="acme", plan_id="p", monthly_credits=10)


@dataclass
class Ledger:
    """A processor whose rules come to fail, and what it leaves behind."""

    pool: Pool
    unparked_max: int = 100

    def __post_init__(self) -> None:
        self.rules = Rules(unparked_max=self.unparked_max)
        self.ledger = PostgresLedger(self.pool, unparked_max=self.unparked_max, letter_bytes_per_day=0)
        self.processor = Processor(self.ledger, self.rules, moves_offsets=False)
        self._offsets = count()

    def record(self, data: IncomingData) -> Record:
        topic, offset = topic_name(type(data)), next(self._offsets)
        encoded = encode(Event("/test", f"e{offset}", topic, BEGAN + timedelta(seconds=offset), data))
        # As a producer may write it: a field that nobody knows is not kept of what is parked.
        value = encoded.value.replace(b"{", b'{"of_tomorrow": 1, ', 1)
        return read_record(Place(topic, 0, offset), topic, encoded.key, value, encoded.headers, 0)

    async def take(self, *data: IncomingData) -> Report:
        return await self.processor.process([self.record(one) for one in data], asyncio.Event())

    async def outcomes(self) -> list[tuple[str | None, str]]:
        rows = await self.pool.fetch(
            "SELECT prospect_id, outcome::text FROM credits.decisions_by_account ORDER BY account_id, position"
        )
        return [tuple(row) for row in rows]

    async def letters(self) -> list[asyncpg.Record]:
        return list(await self.pool.fetch("SELECT * FROM credits.dead_letters ORDER BY dead_letter_id"))

    async def waiting(self) -> tuple[int, int]:
        """As the account counts them, and as they are."""
        row = await self.pool.fetchrow(
            "SELECT parked, (SELECT count(*) FROM credits.parked_events) FROM credits.accounts"
        )
        assert row is not None
        return row[0], row[1]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


def generated(*prospects: str) -> list[ProspectGenerated]:
    return [ProspectGenerated(account_id="acme", prospect_id=prospect) for prospect in prospects]


DECIDED = [(None, "plan-in-force"), ("ann", "charged"), ("bob", "charged")]


async def test_the_plan_that_lets_it_in_is_decided(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Ledger(pool)
    await at.take(*generated("ann", CURSED, "bob"))
    curse(monkeypatch)
    report = await at.take(PLAN)

    assert await at.outcomes() == DECIDED
    assert await at.waiting() == (0, 0)
    assert (report.letters_by_topic, report.failed_wakes) == ({("prospect-generated", "undecidable"): 1}, 0)
    (letter,) = await at.letters()
    assert (letter["reason"], letter["detail"], letter["account_id"]) == ("undecidable", "ArithmeticError", "acme")
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("prospect-generated", 0, 1)
    # Its bytes are not those of Kafka, and so kept in any case.
    assert letter["content_sha256"] is None
    assert b"of_tomorrow" not in letter["value"]
    headers = [(name, value.encode()) for name, value in encode_headers(CURSED)]
    read = decode(headers, letter["value"], topic_type="prospect-generated")
    assert isinstance(read, Event)
    assert read.data == generated(CURSED)[0]


def encode_headers(prospect: str) -> list[tuple[str, str]]:
    event = Event("/test", "e1", "prospect-generated", BEGAN, generated(prospect)[0])
    return [(name, value.decode()) for name, value in encode(event).headers]


async def test_several_of_them_are_letters_each(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Ledger(pool)
    await at.take(*generated("ann", CURSED, "bob", CURSED, CURSED))
    curse(monkeypatch)
    report = await at.take(PLAN, *generated("cy"))

    assert await at.outcomes() == [*DECIDED, ("cy", "charged")]
    assert report.letters_by_topic == {("prospect-generated", "undecidable"): 3}
    assert await at.waiting() == (0, 0)


async def test_a_sweep_that_lets_it_in_goes_on(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Ledger(pool, unparked_max=1)
    await at.take(*generated("ann", CURSED, "bob"))
    curse(monkeypatch)
    await at.take(PLAN)
    assert await at.waiting() == (2, 2)
    reports = [await at.processor.wake([Wake("acme", BEGAN, 0)], asyncio.Event()) for _ in range(2)]

    assert await at.outcomes() == DECIDED
    assert await at.waiting() == (0, 0)
    assert [(report.letters_by_topic.total(), report.failed_wakes) for report in reports] == [(1, 0), (0, 0)]


async def test_an_order_that_comes_behind_it_is_obeyed(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Ledger(pool, unparked_max=1)
    await at.take(*generated("ann", CURSED, "bob"))
    curse(monkeypatch)
    await at.take(PLAN)
    (answer,) = await execute(at.ledger, at.rules, [command_of("acme", Adjust(1, None, "ops", "a reason"), "a-1")])

    assert answer.outcome == "adjusted"
    assert await at.outcomes() == [*DECIDED, (None, "adjusted")]
    assert [letter["reason"] for letter in await at.letters()] == ["undecidable"]


async def test_one_that_came_with_its_plan_has_its_own_bytes(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Ledger(pool)
    curse(monkeypatch)
    report = await at.take(*generated("ann", CURSED, "bob"), PLAN)

    assert await at.outcomes() == DECIDED
    assert report.events == 4
    (letter,) = await at.letters()
    # They can be had of Kafka again: the budget is 0.
    assert (letter["reason"], letter["detail"]) == ("undecidable", "ArithmeticError")
    assert (letter["value"], letter["content_sha256"] is None) == (None, False)
    assert report.became_letters == {Place("prospect-generated", 0, 1): "undecidable"}


async def test_an_event_that_fails_live_is_a_letter_as_ever(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Ledger(pool)
    await at.take(PLAN)
    curse(monkeypatch)
    await at.take(*generated("ann", CURSED, "bob"))

    assert await at.outcomes() == DECIDED
    assert [letter["reason"] for letter in await at.letters()] == ["undecidable"]

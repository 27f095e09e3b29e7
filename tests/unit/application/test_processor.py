"""Stored offsets move with the decisions, never before them: what a kill cuts off is read again."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from credit_contracts import Event, PlanChanged, ProspectGenerated, encode
from credit_contracts.naming import topic_name
from credit_service import bounds
from credit_service.application import retry
from credit_service.application.errors import LedgerUnavailable, OffsetsMoved
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place, Wake
from credit_service.domain.rules import Rules
from credit_service.testing.memory import MemoryLedger, MemoryTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from credit_contracts import IncomingData
    from credit_service.application.ports import ToStore

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNTS, MONTHS = ("a", "b"), 4


@dataclass
class Transactions(MemoryLedger):
    """A ledger that records the places and the moved offsets of each transaction."""

    written: list[tuple[set[Place], Mapping[tuple[str, int], int]]] = field(default_factory=list)

    def write(self, what: ToStore) -> None:
        super().write(what)
        decided = what.decided
        incoming = [*decided.parked, *decided.duplicates]
        places = [decision.place for decision in decided.decisions if decision.place] + [i.place for i in incoming]
        places += [letter.record.place for letter in what.dead_letters]
        self.written.append((set(places), what.next_offsets))


def history() -> list[Record]:
    """A charge in each of four months of two accounts, a repeat of each, and an unreadable message."""
    offsets: Counter[str] = Counter()

    def record(data: IncomingData, number: int, at: datetime) -> Record:
        topic = topic_name(type(data))
        encoded = encode(Event("/test", f"{data.account_id}-{number}", topic, at, data))
        offsets[topic] += 1
        place = Place(topic, 0, offsets[topic] - 1)
        return read_record(place, topic, encoded.key, encoded.value, encoded.headers, 0)

    records = [record(PlanChanged(account_id=name, plan_id="p", monthly_credits=9), 0, BEGAN) for name in ACCOUNTS]
    records += [
        record(ProspectGenerated(account_id=name, prospect_id=f"p{month}"), month, BEGAN + timedelta(days=31 * month))
        for month in range(1, MONTHS + 1)
        for name in (*ACCOUNTS, *ACCOUNTS)
    ]
    records.append(read_record(Place("email-bounced", 0, 0), "email-bounced", b"a", b"{", [], 0))
    return records


@pytest.mark.parametrize("turns", [1, 2, 3, 1_000])
def test_an_offset_moves_with_the_decision_on_what_lies_before_it(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "TIMERS_PER_BATCH_MAX", turns)
    records = history()
    ledger = Transactions(BEGAN + timedelta(days=365))
    processor = Processor(ledger, Rules())
    processor.positions.update({record.place[:2]: 0 for record in records})
    asyncio.run(processor.process(records, asyncio.Event()))

    assert len(ledger.written) > 1 or turns == 1_000
    dealt_with: set[Place] = set()
    for places, moved in ledger.written:
        dealt_with |= places
        until = {at: offset for at, offset in moved.items() if at in {place[:2] for place in places}}
        assert moved == until, "offsets move in a partition of which nothing was decided"
        for (topic, partition), offset in moved.items():
            assert {Place(topic, partition, before) for before in range(offset)} <= dealt_with
    assert dealt_with == {record.place for record in records}
    assert processor.positions == {
        topic: 1 + max(place.offset for place in dealt_with if place[:2] == topic) for topic in processor.positions
    }


@dataclass
class Away(MemoryLedger):
    """A ledger that is away for the first `times` calls."""

    times: int = 0

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> AsyncIterator[MemoryTransaction]:
        if self.times:
            self.times -= 1
            raise LedgerUnavailable("away")
        async with super().transaction(keep=keep) as transaction:
            yield transaction


def test_a_ledger_that_is_away_is_waited_for_however_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_SECONDS_FIRST", 0.001)
    records = history()
    ledger = Away(BEGAN + timedelta(days=365), times=4)
    processor = Processor(ledger, Rules())
    processor.positions.update({record.place[:2]: 0 for record in records})
    report = asyncio.run(processor.process(records, asyncio.Event()))
    assert (report.retries, processor.retries, report.events) == (4, 4, len(records))
    assert set(ledger.accounts) == set(ACCOUNTS)


@dataclass
class MovesOn(MemoryLedger):
    """A ledger in which another server answers after it was away."""

    moved: int = 0

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> AsyncIterator[MemoryTransaction]:
        self.moved += 1
        if self.moved == 1:
            raise LedgerUnavailable("away")
        async with super().transaction(keep=keep) as transaction:
            yield transaction

    def write(self, what: ToStore) -> None:
        raise AssertionError(what)


@pytest.mark.parametrize("kind", ["batch", "timers"])
def test_what_waits_is_not_decided_on_a_server_of_which_it_is_not_known_what_it_has(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "BACKOFF_SECONDS_FIRST", 0.001)
    ledger = MovesOn(BEGAN + timedelta(days=365))
    processor = Processor(ledger, Rules(), moves_offsets=False)

    async def work() -> None:
        if kind == "batch":
            await processor.process(history(), asyncio.Event(), is_current=lambda: ledger.moved < 2)
        else:
            await processor.wake([Wake("a", BEGAN, 1)], asyncio.Event(), lambda: ledger.moved < 2)

    with pytest.raises(OffsetsMoved):
        asyncio.run(work())
    assert ledger.moved == 2

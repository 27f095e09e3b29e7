"""How far the sweep believes each partition number to have come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from credit_contracts import Event, ProspectGenerated, encode
from credit_service.application.process import Processor, Report
from credit_service.application.record import Record, read_record
from credit_service.application.timers import TimerSweep
from credit_service.domain.decide import Rules
from credit_service.domain.decision import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Asked:
    """Stands in for the ledger and for the expiry of parked events: notes what is asked, and has nothing due."""

    def __init__(self) -> None:
        self.numbers: list[dict[int, datetime | None]] = []

    async def accounts_with_due_timers(self, passed_at: Mapping[int, datetime | None], *_: int) -> list[Any]:
        self.numbers.append(dict(passed_at))
        return []

    async def accounts_to_unpark(self, _: int) -> list[str]:
        return []

    async def sweep(self, *_: object) -> Report:
        return Report()


def record(number: int, at: datetime) -> Record:
    encoded = encode(Event("/s", "i", "prospect-generated", at, ProspectGenerated(account_id="a", prospect_id="p")))
    place = Place("prospect-generated", number, 0)
    return read_record(place, "prospect-generated", encoded.key, encoded.value, encoded.headers, 0)


async def asked_after(sweep: TimerSweep, ledger: Asked, *, at_their_ends: set[int]) -> dict[int, datetime | None]:
    ledger.numbers.clear()
    await sweep.sweep({0, 1, 2}, at_their_ends, asyncio.Event())
    return ledger.numbers[-1] if ledger.numbers else {}


async def test_only_numbers_whose_events_were_seen_or_that_are_at_their_ends_are_asked_about() -> None:
    ledger = Asked()
    anything = cast("Any", ledger)
    sweep = TimerSweep(anything, Processor(anything, Rules()), anything)

    assert await asked_after(sweep, ledger, at_their_ends=set()) == {}
    sweep.note_decided([record(1, AT + timedelta(days=1)), record(1, AT)], Report())
    assert await asked_after(sweep, ledger, at_their_ends={2}) == {1: AT + timedelta(days=1), 2: None}
    sweep.forget(1)
    assert await asked_after(sweep, ledger, at_their_ends={2}) == {2: None}
    sweep.note_decided([record(1, AT)], Report())
    assert await asked_after(sweep, ledger, at_their_ends=set()) == {1: AT}


async def test_a_time_that_is_only_that_of_an_unreadable_record_tells_nothing() -> None:
    """A producer gives any time to Kafka; months of a backlog would turn before the charges that belong into them."""
    ledger = Asked()
    anything = cast("Any", ledger)
    sweep = TimerSweep(anything, Processor(anything, Rules()), anything)
    place = Place("prospect-generated", 1, 1)
    unreadable = read_record(place, "prospect-generated", b"a", b"no JSON", [], 2**63 - 1)
    sweep.note_decided([record(1, AT), unreadable], Report())
    assert await asked_after(sweep, ledger, at_their_ends=set()) == {1: AT}

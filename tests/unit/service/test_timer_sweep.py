"""How far the sweep believes each partition number to have come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from credit_service.application.process import Processor, Report
from credit_service.application.timers import TimerSweep
from credit_service.domain.decide import Rules

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


async def asked_after(sweep: TimerSweep, ledger: Asked, *, at_their_ends: set[int]) -> dict[int, datetime | None]:
    ledger.numbers.clear()
    await sweep.sweep({0, 1, 2}, at_their_ends, asyncio.Event())
    return ledger.numbers[-1] if ledger.numbers else {}


async def test_only_numbers_of_which_it_is_known_how_far_they_are_read_are_asked_about() -> None:
    ledger = Asked()
    anything = cast("Any", ledger)
    sweep = TimerSweep(anything, Processor(anything, Rules()), anything)

    assert await asked_after(sweep, ledger, at_their_ends=set()) == {}
    sweep.note_reached(1, AT + timedelta(days=1))
    assert await asked_after(sweep, ledger, at_their_ends={2}) == {1: AT + timedelta(days=1), 2: None}
    sweep.forget(1)
    assert await asked_after(sweep, ledger, at_their_ends={2}) == {2: None}
    sweep.note_reached(1, AT + timedelta(days=1))
    sweep.note_reached(1, AT)
    assert await asked_after(sweep, ledger, at_their_ends=set()) == {1: AT}, "what waits is earlier than it was"

"""The pace of a replay, its patience with a ledger that is away, and its repeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from credit_contracts import Event, ProspectGenerated, encode
from credit_service import bounds
from credit_service.application import retry
from credit_service.application.errors import Abandoned, LedgerUnavailable
from credit_service.application.processing.known_events import KnownKey, KnownLetter
from credit_service.application.record import Record, read_record
from credit_service.application.replay import replay as module
from credit_service.application.replay.replay import Pace, Replay, Replayed, ReplayOptions
from credit_service.domain.event import Place

if TYPE_CHECKING:
    from credit_service.domain.event import Incoming

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(offset: int, event_id: str = "i", prospect_id: str = "p") -> Record:
    data = ProspectGenerated(account_id="a", prospect_id=prospect_id)
    encoded = encode(Event("/s", event_id, "prospect-generated", AT, data))
    place = Place("prospect-generated", 0, offset)
    return read_record(place, "prospect-generated", encoded.key, encoded.value, encoded.headers, 0)


class Records:
    """A source of batches of one record each, which ends, or signals its end and waits for ever."""

    def __init__(self, records: Sequence[Record], *, waits: asyncio.Event | None = None) -> None:
        self.lost_to_retention = 0
        self.was_closed = False
        self.asked_for: list[int] = []
        self._records = records
        self._waits = waits

    async def batches(self, records_max: int) -> AsyncGenerator[Sequence[Record]]:
        self.asked_for.append(records_max)
        try:
            for one in self._records:
                yield [one]
            if self._waits:
                self._waits.set()
                await asyncio.Event().wait()
        finally:
            self.was_closed = True


class Knows:
    """A lookup that finds nothing, and is away for the first `away` calls."""

    def __init__(self, away: float = 0) -> None:
        self.asked = 0
        self._away = away

    async def keys(self, events: Sequence[Incoming]) -> list[KnownKey | None]:
        self.asked += 1
        if self.asked <= self._away:
            raise LedgerUnavailable("away")
        return [None] * len(events)

    async def letters(self, _: Sequence[Place]) -> dict[Place, KnownLetter]:
        return {}


class Stuck:
    """A processor whose ledger is away."""

    async def process(self, _: Sequence[Record], abandon: asyncio.Event) -> Any:
        await abandon.wait()
        raise Abandoned


def replay(lookup: Knows, processor: object = None) -> Replay:
    return Replay(lookup, cast("Any", processor), cast("Any", None))


async def dry_run(source: Records, lookup: Knows, ending: asyncio.Event | None = None, **wanted: Any) -> Replayed:
    replayed = Replayed()
    await replay(lookup).run(
        source,
        ReplayOptions(dry_run=True, **wanted),
        ("", ""),
        {},
        ending or asyncio.Event(),
        lambda _: None,
        lambda _: None,
        replayed,
    )
    return replayed


def test_the_pace_is_held_on_average() -> None:
    now = 100.0
    pace = Pace(10, lambda: now)
    assert pace.wait_seconds(10) == 0
    assert pace.wait_seconds(5) == pytest.approx(1.0)
    now = 101.2
    assert pace.wait_seconds(10) == pytest.approx(0.3)
    # Unused time is not made up for.
    now = 200.0
    assert pace.wait_seconds(10) == 0
    assert pace.wait_seconds(10) == pytest.approx(1.0)


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(None, lambda: 0.0)
    assert [pace.wait_seconds(10**6) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(("rate", "expected"), [(None, bounds.REPLAY_BATCH_RECORDS_MAX), (7, 7), (10**6, 2_000)])
async def test_no_batch_is_larger_than_the_rate(rate: int | None, expected: int) -> None:
    source = Records([])
    await dry_run(source, Knows(), rate=rate)
    assert source.asked_for == [expected]


async def test_each_batch_waits_for_as_long_as_the_pace_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    async def is_set_within(_: asyncio.Event, seconds: float) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr(module, "is_set_within", is_set_within)
    monkeypatch.setattr(Pace, "wait_seconds", lambda _, messages: 7.0 * messages)
    replayed = await dry_run(Records([record(0), record(1)]), Knows(), rate=1)
    assert (waited, replayed.read) == ([7.0, 7.0], 2)


async def test_a_ledger_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_SECONDS_FIRST", 0.001)
    lookup = Knows(away=3)
    replayed = await dry_run(Records([record(0)]), lookup)
    assert (lookup.asked, replayed.totals) == (4, {"new": 1})


async def test_a_ledger_that_stays_away_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_SECONDS_FIRST", 0.001)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    source = Records([record(0)])
    with pytest.raises(LedgerUnavailable):
        await dry_run(source, Knows(away=float("inf")))
    assert source.was_closed


async def test_a_batch_that_cannot_be_stored_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(LedgerUnavailable, match="nothing came of a batch within 0 s"):
        await replay(Knows(), Stuck())._decide([record(0)], Replayed())


async def test_it_ends_while_it_waits_for_more() -> None:
    ending = asyncio.Event()
    source = Records([record(0)], waits=ending)
    replayed = await dry_run(source, Knows(), ending)
    assert (replayed.is_interrupted, replayed.read, source.was_closed) == (True, 1, True)


async def test_repeats_of_what_is_new_are_told_apart() -> None:
    source = Records([record(0), record(1), record(2, prospect_id="other"), record(3, "j")])
    replayed = await dry_run(source, Knows())
    assert replayed.statuses == {"prospect-generated": {"new": 2, "duplicate": 1, "conflict": 1}}

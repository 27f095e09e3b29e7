"""A topic with too many bad messages is paused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from credit_contracts import Event, ProspectGenerated, encode
from credit_service.application import retry
from credit_service.application.errors import LedgerUnavailable, RefusedByLedger
from credit_service.application.processing.poison_guard import NOT_THE_TOPICS, PoisonGuard
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.reasons import REFUSALS
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.testing.memory import MemoryLedger
from support.small_bounds import small_bounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from credit_contracts import IncomingData
    from credit_service.application.ports import ToStore

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TOPIC = "prospect-generated"
IN_A_ROW = "1000 messages in a row are unreadable or refused, the last one: {}"
OF_THE_LAST = "9000 of the last 10000 messages are unreadable or refused, the last one: {}"


def read(offset: int, data: IncomingData, at: datetime = NOW, source: str = "/tests") -> Record:
    encoded = encode(Event(source, f"e{offset}", TOPIC, at, data))
    return read_record(Place(TOPIC, 0, offset), TOPIC, encoded.key, encoded.value, encoded.headers, 0)


GOOD = read(0, ProspectGenerated(account_id="a", prospect_id="p"))


class Told:
    """Messages of one topic, in their order, each with the reason for which it is a dead letter, or None."""

    def __init__(self, in_a_row_max: int = 1_000) -> None:
        self.floods = PoisonGuard(in_a_row_max)
        self._offsets: Iterator[int] = count()

    def of(self, *reasons: str | None, topic: str = TOPIC) -> str | None:
        """The reason why the topic is over its limit after these are decided together, or None."""
        records = [replace(GOOD, place=Place(topic, 0, next(self._offsets))) for _ in reasons]
        letters = {record.place: reason for record, reason in zip(records, reasons, strict=True) if reason}
        return self.floods.count(records, letters).get(topic)

    def each(self, reasons: Sequence[str | None]) -> list[int]:
        """The number of messages, decided one by one, after which the topic is over its limit."""
        return [n for n, reason in enumerate(reasons, 1) if self.of(reason)]


@pytest.mark.parametrize("reason", ["not-json", *sorted(REFUSALS.keys() - NOT_THE_TOPICS)])
def test_a_thousand_bad_messages_in_a_row_pause_and_not_one_less(reason: str) -> None:
    told = Told()
    assert told.of(*[reason] * 999) is None
    assert told.of(reason) == IN_A_ROW.format(reason)
    interrupted = Told()
    assert interrupted.of(*[reason] * 999, None, *[reason] * 999) is None
    assert interrupted.of(reason) == IN_A_ROW.format(reason)


def test_nine_tenths_of_the_last_ten_thousand_pause_and_not_one_less() -> None:
    """Nine in ten, and no run is longer than nine."""
    nine_in_ten = [None, *["conflict"] * 9]
    told = Told()
    assert told.of(*nine_in_ten * 999, *nine_in_ten[:-1]) is None
    assert told.of(nine_in_ten[-1]) == OF_THE_LAST.format("conflict")


def test_the_last_ten_thousand_move_with_each_message() -> None:
    nine_in_ten = ["conflict"] * 9 + [None]
    told = Told()
    # 8,999 of 10,000, and so on for ever: as a bad one comes, a bad one leaves.
    one_less = [*nine_in_ten * 999, *["conflict"] * 8, None, None]
    assert told.each(one_less * 3) == []
    # Of the message that leaves now, the place is taken by one that is worse: the tenth was good.
    assert told.each([*nine_in_ten[:-1], "conflict"]) == [10]


def test_a_flood_between_good_messages_pauses_far_before_its_end() -> None:
    """999 bad ones after each good one: there is no run of a thousand."""
    (first, *_) = Told().each([None, *["from-the-future"] * 999] * 10)
    assert first == 9_000 + 10


@pytest.mark.parametrize("reason", sorted(NOT_THE_TOPICS))
def test_what_says_nothing_of_the_topic_neither_counts_nor_ends_a_run(reason: str) -> None:
    told = Told()
    assert told.of(*[reason] * 20_000) is None
    assert told.of(*["not-json", reason] * 999) is None
    assert told.of("not-json") == IN_A_ROW.format("not-json")


def test_the_reasons_that_do_not_count_are_those_of_the_service_and_of_an_account() -> None:
    assert {"account-full", "parked-full", "parked-too-long", "undecidable", "refused-by-database"} == NOT_THE_TOPICS


def test_each_topic_is_counted_by_itself() -> None:
    told = Told(3)
    assert told.of("conflict", "conflict") is None
    assert told.of("conflict", None, topic="other") is None
    assert told.of("conflict") is not None


def test_a_topic_is_over_until_it_is_forgotten_or_brings_what_is_good() -> None:
    """A pause that failed is tried again with the next bad message."""
    told = Told(3)
    assert told.of(*["conflict"] * 3) is not None
    assert told.of("conflict") is not None
    assert told.of(None) is None
    assert told.of("conflict") is None
    told.of("conflict")
    told.floods.forget([TOPIC])
    assert told.of("conflict") is None


def test_what_is_remembered_is_bounded() -> None:
    with small_bounds(JUDGED_MESSAGES=10, BAD_OF_JUDGED_MAX=9):
        told = Told(10_000)
        for _ in range(5):
            told.of(*["conflict"] * 100, *[None] * 50)
        (topic,) = told.floods._topics.values()
        assert len(topic.bad) == 9


# --- where the reasons come from


@dataclass
class Faulty(MemoryLedger):
    """A ledger that is away at the first call, and takes no batch of more than `together`."""

    away: int = 0
    together: int = 1_000

    def write(self, what: ToStore) -> None:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("away")
        if len(what.decided.decisions) + len(what.dead_letters) > self.together:
            raise RefusedByLedger("22000", None)
        super().write(what)


def flood(bad: int) -> list[Record]:
    """A good one, some of tomorrow, one that is unreadable, and a good one."""
    data = ProspectGenerated(account_id="a", prospect_id="p")
    tomorrow = NOW + timedelta(days=1)
    unreadable = read_record(Place(TOPIC, 0, bad + 1), TOPIC, b"a", b"{", [], 0)
    return [GOOD, *(read(n, data, tomorrow) for n in range(1, bad + 1)), unreadable, read(bad + 2, data)]


@pytest.mark.parametrize(
    "ledger",
    [Faulty(NOW), Faulty(NOW, away=3), Faulty(NOW, together=1)],
    ids=["at once", "after retries", "in halves"],
)
def test_each_message_is_told_of_once_however_often_it_is_tried(
    ledger: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "BACKOFF_SECONDS_FIRST", 0.001)
    records = flood(bad=7)
    processor = Processor(ledger, Rules(), moves_offsets=False)
    report = asyncio.run(processor.process(records, asyncio.Event()))
    at = [record.place for record in records]
    assert report.became_letters == dict.fromkeys(at[1:-2], "from-the-future") | {at[-2]: "bad-envelope"}
    assert PoisonGuard(8).count(records, report.became_letters).keys() == {TOPIC}
    assert PoisonGuard(9).count(records, report.became_letters) == {}

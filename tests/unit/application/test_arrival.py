"""The order of a record among those of other topics, by its event's time and its arrival in Kafka."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from credit_contracts import Event, ProspectGenerated, encode
from credit_service.application.processing.arrival import Arrivals, LedgerClock
from credit_service.application.record import Record, read_record
from credit_service.domain.event import EARLIEST, Incoming, Place

AT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NO_TIMESTAMP = -1


def ms(at: datetime) -> int:
    return (at - EARLIEST) // timedelta(milliseconds=1)


def record(at: datetime | None, timestamp_ms: int, *, is_append_time: bool = False) -> Record:
    """A record of an event that occurred `at`; None: an unreadable one."""
    place, topic = Place("prospect-generated", 0, 0), "prospect-generated"
    if at is None:
        return read_record(place, topic, b"a", b"{", [], timestamp_ms, is_append_time=is_append_time)
    encoded = encode(Event("/s", "i", topic, at, ProspectGenerated(account_id="a", prospect_id="p")))
    return read_record(
        place, topic, encoded.key, encoded.value, encoded.headers, timestamp_ms, is_append_time=is_append_time
    )


def clock_at(now: datetime | None) -> LedgerClock:
    clock = LedgerClock()
    if now is not None:
        clock.note(now)
    return clock


def ordered(*records: Record, now: datetime | None = None) -> list[datetime]:
    """The time to the minute, since the clock moves."""
    Arrivals(clock_at(now)).put_in_order(records)
    return [one.order[0].replace(second=0, microsecond=0) for one in records]


def test_an_event_stands_at_its_own_time_and_what_is_refused_where_the_one_before_it_does() -> None:
    arrived = ms(AT)

    assert ordered(
        record(AT.replace(year=2099), arrived, is_append_time=True),
        record(AT - HOUR, arrived, is_append_time=True),
        record(AT + 6 * MINUTE, arrived, is_append_time=True),
        record(AT + 4 * MINUTE, arrived, is_append_time=True),
    ) == [EARLIEST, AT - HOUR, AT - HOUR, AT + 4 * MINUTE]


def test_the_latest_of_a_producers_timestamps_counts_up_to_now() -> None:
    at = AT + 2 * HOUR
    records = [
        record(at, ms(AT)),
        record(at, ms(AT + HOUR)),
        record(at, ms(AT)),
        record(at, ms(AT.replace(year=2099))),
        record(AT.replace(year=2099), ms(AT)),
    ]

    assert ordered(*records, now=at) == [
        AT + 5 * MINUTE,
        AT + HOUR + 5 * MINUTE,
        AT + HOUR + 5 * MINUTE,
        at,
        at,
    ]


def test_a_timestamp_below_0_says_nothing() -> None:
    far = AT.replace(year=2099)

    assert ordered(record(far, NO_TIMESTAMP)) == [far]
    assert ordered(record(far, ms(AT)), record(far, NO_TIMESTAMP)) == [AT + 5 * MINUTE] * 2
    assert ordered(record(far, NO_TIMESTAMP), now=AT) == [EARLIEST]


@pytest.mark.parametrize("is_append_time", [True, False])
def test_what_cannot_be_read_stands_at_its_arrival(is_append_time: bool) -> None:
    assert ordered(record(None, ms(AT), is_append_time=is_append_time)) == [AT]


def test_a_producers_time_of_what_cannot_be_read_goes_no_further_than_now() -> None:
    assert ordered(record(None, ms(AT.replace(year=2099))), now=AT) == [AT]


def test_an_event_knows_when_it_arrived_only_from_the_broker() -> None:
    def appended_at(one: Record) -> datetime | None:
        assert isinstance(one.content, Incoming)
        return one.content.appended_at

    assert appended_at(record(AT, ms(AT + HOUR), is_append_time=True)) == AT + HOUR
    assert appended_at(record(AT, ms(AT + HOUR))) is None
    assert appended_at(record(AT, NO_TIMESTAMP, is_append_time=True)) is None


def test_the_clock_goes_on_from_what_the_database_said() -> None:
    clock = clock_at(None)
    assert clock.now() is None
    clock.note(AT)
    first, second = clock.now(), clock.now()
    assert first is not None
    assert second is not None
    assert AT <= first <= second < AT + MINUTE


def test_a_producers_time_at_the_end_of_all_times_is_one_as_any_other() -> None:
    """Found: adding 5 minutes to it overflowed, which ended a replay."""
    last = 253_402_300_799_999
    assert ordered(record(AT, last), record(None, last), record(AT + HOUR, last)) == [
        AT,
        datetime(9999, 12, 31, 23, 54, tzinfo=UTC),
        AT + HOUR,
    ]

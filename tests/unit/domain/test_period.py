from __future__ import annotations

from itertools import pairwise

import pytest

from credit_service.domain.period import Calendar
from support.domain import Story, time

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("anchor", "starts"),
    [
        ("2026-01-31", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2028-01-31", ["2028-01-31", "2028-02-29", "2028-03-31"]),
        ("2027-12-30", ["2027-12-30", "2028-01-30", "2028-02-29", "2028-03-30"]),
        ("2025-11-29", ["2025-11-29", "2025-12-29", "2026-01-29", "2026-02-28", "2026-03-29"]),
        ("2100-01-29", ["2100-01-29", "2100-02-28", "2100-03-29"]),
        ("2028-02-29", ["2028-02-29", "2028-03-29", "2028-04-29"]),
        ("2026-06-15 17:30:00.000001", ["2026-06-15 17:30:00.000001", "2026-07-15 17:30:00.000001"]),
    ],
)
def test_a_month_that_is_too_short_ends_early_and_the_next_is_whole_again(anchor: str, starts: list[str]) -> None:
    calendar = Calendar(time(anchor), "UTC")

    assert [calendar.starts_at(number) for number in range(len(starts))] == [time(start) for start in starts]


def test_periods_are_counted_back_from_the_anchor_too() -> None:
    calendar = Calendar(time("2026-03-31"), "UTC")

    assert [calendar.starts_at(n) for n in (-1, -2, -13)] == [
        time("2026-02-28"),
        time("2026-01-31"),
        time("2025-02-28"),
    ]


@pytest.mark.parametrize(
    ("zone", "anchor", "number", "starts_at"),
    [
        # The same hour on the wall, summer and winter.
        (BERLIN, "2026-01-15 00:00+01:00", 6, "2026-07-15 00:00+02:00"),
        (NEW_YORK, "2026-07-15 00:00-04:00", 6, "2027-01-15 00:00-05:00"),
        # An hour that the clock skips moves forward by what was skipped.
        (BERLIN, "2026-02-28 02:30+01:00", 1, "2026-03-28 02:30+01:00"),
        (BERLIN, "2026-01-29 02:30+01:00", 2, "2026-03-29 03:30+02:00"),
        (BERLIN, "2026-01-29 02:00+01:00", 2, "2026-03-29 03:00+02:00"),
        (BERLIN, "2026-01-29 03:00+01:00", 2, "2026-03-29 03:00+02:00"),
        (NEW_YORK, "2026-02-08 02:15-05:00", 1, "2026-03-08 03:15-04:00"),
        # The month after it is back at its own hour.
        (BERLIN, "2026-01-29 02:30+01:00", 3, "2026-04-29 02:30+02:00"),
        # Of an hour that comes twice the first is taken.
        (BERLIN, "2026-09-25 02:30+02:00", 1, "2026-10-25 02:30+02:00"),
        (BERLIN, "2026-09-25 03:00+02:00", 1, "2026-10-25 03:00+01:00"),
        (NEW_YORK, "2026-10-01 01:30-04:00", 1, "2026-11-01 01:30-04:00"),
        # Also when the anchor itself lies in the second one.
        (BERLIN, "2026-10-25 02:30+01:00", 12, "2027-10-25 02:30+02:00"),
        # A day that a zone leaves out.
        ("Pacific/Apia", "2011-11-30 10:00-10:00", 1, "2011-12-31 10:00+14:00"),
        ("Asia/Kolkata", "2026-01-31 00:00+05:30", 1, "2026-02-28 00:00+05:30"),
    ],
)
def test_a_period_begins_at_the_wall_time_of_the_anchor(zone: str, anchor: str, number: int, starts_at: str) -> None:
    assert Calendar(time(anchor), zone).starts_at(number) == time(starts_at)


@pytest.mark.parametrize("zone", ["UTC", BERLIN, NEW_YORK, "Pacific/Apia", "Australia/Lord_Howe"])
@pytest.mark.parametrize("anchor", ["2026-01-31 01:30", "2026-10-25 01:30", "2011-12-30 12:00"])
def test_periods_follow_each_other_without_a_gap(zone: str, anchor: str) -> None:
    calendar = Calendar(time(anchor), zone)
    periods = [calendar.period(number) for number in range(-200, 200)]

    assert all(earlier.ends_at == later.starts_at for earlier, later in pairwise(periods))
    assert all(period.starts_at < period.ends_at for period in periods)


@pytest.mark.parametrize(
    ("instant", "number"),
    [
        ("2026-01-31 09:00", 0),
        ("2026-02-28 08:59:59.999999", 0),
        ("2026-02-28 09:00", 1),
        ("2026-03-31 08:59", 1),
        ("2026-03-31 09:00", 2),
        ("2026-01-31 08:59", -1),
        ("2025-12-31 09:00", -1),
        ("2025-12-31 08:59", -2),
        ("2031-01-31 09:00", 60),
    ],
)
def test_the_border_belongs_to_the_period_that_begins(instant: str, number: int) -> None:
    calendar = Calendar(time("2026-01-31 09:00"), "UTC")

    assert calendar.period_at(time(instant)) == calendar.period(number)


@pytest.mark.parametrize(
    ("zone", "anchor", "instant"),
    [
        # Far from UTC the local month is not the month in UTC.
        ("Pacific/Kiritimati", "2026-01-31 23:00+14:00", "2026-02-28 22:59+14:00"),
        ("Pacific/Kiritimati", "2026-02-01 00:30+14:00", "2026-01-31 10:31"),
        (BERLIN, "2026-10-25 02:30+01:00", "2026-10-25 02:30+01:00"),
        (BERLIN, "2026-03-29 03:30+02:00", "2026-03-29 03:29+02:00"),
        # A minute into November the clock went back to October, whose last hour came twice.
        ("America/St_Johns", "2009-10-01 00:00-02:30", "2009-10-31 23:30-03:30"),
    ],
)
def test_every_instant_lies_in_its_period(zone: str, anchor: str, instant: str) -> None:
    period = Calendar(time(anchor), zone).period_at(time(instant))

    assert period.starts_at <= time(instant) < period.ends_at


@pytest.mark.parametrize(
    ("anchor", "begins", "ends"),
    [
        ("2026-01-10", "2026-01-10", "2026-02-10"),
        ("2026-01-01", "2026-01-01", "2026-02-01"),
        ("2024-05-20", "2025-12-20", "2026-01-20"),
        ("2026-01-20", "2025-12-20", "2026-01-20"),
        ("2029-08-31", "2025-12-31", "2026-01-31"),
    ],
)
def test_the_first_period_is_the_one_with_the_first_plans_event(
    story: Story, anchor: str, begins: str, ends: str
) -> None:
    story.plan(100, "2026-01-10", anchor=anchor)

    assert story.period is not None
    assert (story.period.starts_at, story.period.ends_at) == (time(begins), time(ends))
    assert story.log == ["plan_change +100"]


def test_an_event_just_before_the_instant_belongs_to_the_old_period(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-31 23:59:59.999999")

    assert hundred.log == ["plan_change +100", "charge -1"]


def test_an_event_exactly_on_the_instant_belongs_to_the_new_period(hundred: Story) -> None:
    hundred.generate("ann", "2026-02-01")

    assert hundred.log == ["plan_change +100", "lapse -100", "renewal +100", "charge -1"]

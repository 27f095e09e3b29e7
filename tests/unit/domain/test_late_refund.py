from __future__ import annotations

from datetime import timedelta

import pytest

from credit_service.domain.period import Calendar
from credit_service.domain.rules import LateRefund, Rules
from support.domain import Story, time


def with_late_refunds(kind: str, days: int = 0) -> Story:
    assert kind in ("current-period", "days", "forfeit")
    story = Story(Rules(LateRefund(kind, days)))  # type: ignore[arg-type]
    story.plan(100, "2026-01-01")
    return story


def test_a_refund_after_its_grant_lapsed_ends_with_the_current_period() -> None:
    story = with_late_refunds("current-period")
    story.generate("ann")

    assert story.bounce("ann", "2026-02-10") == "refunded"
    assert story.balance == 101
    assert [(g.origin, g.remaining, g.expires_at) for g in story.grants] == [
        ("plan", 100, time("2026-03-01")),
        ("refund", 1, time("2026-03-01")),
    ]
    assert story.wait("2026-03-01").log[-2:] == ["lapse -101", "renewal +100"]


def test_a_refund_at_the_very_instant_of_the_lapse_is_late() -> None:
    story = with_late_refunds("current-period")
    story.generate("ann")
    story.bounce("ann", "2026-02-01")

    assert story.log[-3:] == ["lapse -99", "renewal +100", "refund +1"]
    assert story.balance == 101


def test_a_refund_after_its_grant_lapsed_can_live_for_days() -> None:
    story = with_late_refunds("days", 30)
    story.generate("ann")
    story.bounce("ann", "2026-02-10 12:00")

    assert story.grants[-1].expires_at == time("2026-03-13"), "30 days, and to the end of the last one"
    assert story.wait("2026-03-12 23:59").log[-2:] == ["lapse -100", "renewal +100"]
    assert story.balance == 101
    assert story.wait("2026-03-13").log[-1] == "lapse -1"


def test_late_refunds_that_end_on_one_day_share_a_grant_and_a_decision() -> None:
    story = Story(Rules(LateRefund("days", 30)))
    story.plan(10_000, "2026-01-01")
    names = [f"p-{n}" for n in range(500)]
    for name in names:
        story.generate(name)
    moment = time("2026-02-10")
    for name in names:
        story.bounce(name, (moment := moment + timedelta(seconds=100)).isoformat())

    assert [(g.origin, g.amount) for g in story.grants] == [("plan", 10_000), ("refund", 500)]
    before = len(story.decisions)
    story.wait("2026-03-14")
    assert [d.type for d in story.decisions[before:]] == ["renewal", "expiry"]
    assert story.log[-1] == "lapse -500"


@pytest.mark.parametrize(
    ("zone", "bounced", "ends"),
    [
        ("UTC", "2026-02-10", "2026-02-15"),
        ("UTC", "2026-02-10 00:00:00.000001", "2026-02-16"),
        ("Europe/Berlin", "2026-02-10 22:59:59", "2026-02-15 23:00"),
        ("Europe/Berlin", "2026-02-10 23:00", "2026-02-15 23:00"),
        ("Europe/Berlin", "2026-02-10 23:00:01", "2026-02-16 23:00"),
        ("Pacific/Auckland", "2026-02-10 12:00", "2026-02-16 11:00"),
        # Summer time begins at midnight in Beirut, on 29 March: that day begins an hour later.
        ("Asia/Beirut", "2026-03-23 22:00", "2026-03-28 22:00"),
        ("Asia/Beirut", "2026-03-23 22:00:01", "2026-03-29 21:00"),
    ],
)
def test_the_day_is_one_of_the_account_s_own_time_zone_and_no_refund_lives_for_less(
    zone: str, bounced: str, ends: str
) -> None:
    story = Story(Rules(LateRefund("days", 5)))
    story.plan(100, "2026-01-01", zone=zone)
    story.generate("ann")
    story.bounce("ann", bounced)

    assert story.grants[-1].expires_at == time(ends)
    assert time(ends) - time(bounced) >= timedelta(days=5)


def test_a_midnight_that_comes_twice_ends_the_day_once() -> None:
    # In Havana clocks go from 1:00 back to 0:00 on 1 November 2026.
    calendar = Calendar(time("2026-01-01"), "America/Havana")

    assert calendar.day_ends_at(time("2026-11-01 04:00")) == time("2026-11-01 04:00")
    assert calendar.day_ends_at(time("2026-11-01 05:00")) == time("2026-11-02 05:00")
    assert calendar.day_ends_at(time("2026-11-01 05:30")) == time("2026-11-02 05:00")


def test_the_days_of_a_bounce_from_a_closed_period_count_from_the_current_one() -> None:
    story = with_late_refunds("days", 5)
    story.generate("ann")
    story.wait("2026-03-02")
    story.bounce("ann", "2026-02-10")

    assert story.grants[-1].expires_at == time("2026-03-06")


def test_late_refunds_that_end_at_one_instant_one_after_the_other_lapse_each() -> None:
    story = with_late_refunds("days", 5)
    for name in ("ann", "bob"):
        story.generate(name)
    story.wait("2026-03-10")
    for day, name in ((20, "ann"), (22, "bob")):
        story.bounce(name, f"2026-02-{day}")
        story.wait("2026-03-10")

    assert story.log[-4:] == ["refund +1", "lapse -1", "refund +1", "lapse -1"]
    assert story.balance == 100


def test_a_refund_after_its_grant_lapsed_can_be_forfeit() -> None:
    story = with_late_refunds("forfeit")
    story.generate("ann")
    changes = len(story.wait("2026-02-10").changes)

    assert story.bounce("ann", "2026-02-10") == "forfeited"
    assert story.balance == 100
    assert len(story.changes) == changes


@pytest.mark.parametrize("kind", ["current-period", "days", "forfeit"])
def test_a_refund_in_time_goes_home_whatever_the_setting(kind: str) -> None:
    story = with_late_refunds(kind, 7)
    story.generate("ann")

    assert story.bounce("ann", "2026-01-31 23:59:59") == "refunded"
    assert [(g.origin, g.remaining) for g in story.grants] == [("plan", 100)]


def test_several_late_refunds_share_one_grant(hundred: Story) -> None:
    names = ("ann", "bob", "cy")
    for name in names:
        hundred.generate(name)
    for day, name in enumerate(names, start=10):
        hundred.bounce(name, f"2026-02-{day}")

    assert [(g.origin, g.amount, g.remaining) for g in hundred.grants] == [("plan", 100, 100), ("refund", 3, 3)]
    assert [change.lines for change in hundred.changes[-3:]] == [[(3, 1)]] * 3


def test_late_refunds_of_another_period_have_a_grant_of_their_own(hundred: Story) -> None:
    for name in ("ann", "bob"):
        hundred.generate(name)
    hundred.bounce("ann", "2026-02-10")
    hundred.bounce("bob", "2026-03-10")

    assert [(g.origin, g.amount, g.remaining) for g in hundred.grants] == [("plan", 100, 100), ("refund", 1, 1)]
    assert hundred.balance == 101


def test_a_charge_from_a_refund_grant_goes_back_to_it(hundred: Story) -> None:
    hundred.plan(1)
    hundred.generate("ann")
    hundred.generate("bob", "2026-02-02")
    hundred.bounce("ann")
    hundred.generate("cy")
    assert hundred.balance == 0
    hundred.bounce("cy")

    assert [(g.origin, g.remaining) for g in hundred.grants] == [("plan", 0), ("refund", 1)]


def test_two_refunds_into_one_grant_are_spent_and_refunded_on_their_own(hundred: Story) -> None:
    hundred.plan(2, "2026-01-02")
    hundred.generate("ann")
    hundred.generate("bob")
    for name in ("ann", "bob"):
        hundred.bounce(name, "2026-02-10")
    for name in ("cy", "dee", "eve", "fay"):
        assert hundred.generate(name) == "charged"
    assert hundred.balance == 0
    for name in ("eve", "fay"):
        assert hundred.bounce(name) == "refunded"

    assert [(g.origin, g.amount, g.remaining) for g in hundred.grants] == [("plan", 2, 0), ("refund", 2, 2)]


def test_two_late_refunds_lapse_together(hundred: Story) -> None:
    for name in ("ann", "bob"):
        hundred.generate(name)
    for name in ("ann", "bob"):
        hundred.bounce(name, "2026-02-10")
    hundred.wait("2026-03-01")

    assert hundred.log[-2:] == ["lapse -102", "renewal +100"]
    assert hundred.changes[-2].lines == [(2, -100), (3, -2)]


def test_refunds_for_days_share_a_grant_only_when_they_end_together() -> None:
    story = with_late_refunds("days", 30)
    for name in ("ann", "bob", "cy"):
        story.generate(name)
    for name, at in (("ann", "2026-02-10"), ("bob", "2026-02-10"), ("cy", "2026-02-10 00:00:01")):
        story.bounce(name, at)

    assert [(g.origin, g.amount) for g in story.grants] == [("plan", 100), ("refund", 2), ("refund", 1)]


def test_a_refund_for_days_outlives_the_month() -> None:
    story = with_late_refunds("days", 30)
    story.generate("ann")
    story.bounce("ann", "2026-02-10")

    assert story.wait("2026-03-01").balance == 101
    assert story.wait("2026-03-12").balance == 100


@pytest.mark.parametrize(
    ("kind", "balance", "outcome"),
    [("current-period", 101, "refunded"), ("days", 101, "refunded"), ("forfeit", 100, "forfeited")],
)
def test_after_several_months_a_refund_is_as_late_as_after_one(kind: str, balance: int, outcome: str) -> None:
    story = with_late_refunds(kind, 7)
    story.generate("ann")

    assert story.bounce("ann", "2026-07-10") == outcome
    assert story.balance == balance
    assert sum(g.remaining for g in story.grants if g.origin == "refund") == balance - 100


def test_a_late_refund_is_published_as_of_the_bounce_in_the_current_period(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.wait("2026-03-15")
    hundred.bounce("ann", "2026-02-10")

    refund = hundred.changes[-1]
    assert (refund.occurred_at, refund.period_ends_at) == (time("2026-02-10"), time("2026-04-01"))
    assert hundred.grants[-1].expires_at == time("2026-04-01")


def test_what_was_forfeited_is_not_refunded_by_a_second_bounce() -> None:
    story = with_late_refunds("forfeit")
    story.generate("ann")
    story.bounce("ann", "2026-02-10")

    assert story.bounce("ann") == "no-effect"
    assert story.export("ann") == "free"


def test_a_remembered_bounce_of_an_earlier_month_goes_home_to_the_grant_of_its_charge(hundred: Story) -> None:
    hundred.bounce("ann", "2026-01-10")
    hundred.generate("ann", "2026-03-10")

    assert hundred.log[-2:] == ["charge -1", "refund +1"]
    assert [(g.origin, g.remaining) for g in hundred.grants] == [("plan", 100)]

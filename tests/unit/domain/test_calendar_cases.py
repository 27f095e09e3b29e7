"""The begin and the entries of months: one table for each question, each row with the expected entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.domain import Story, time

if TYPE_CHECKING:
    from collections.abc import Callable

FAR = time("2500-01-01")


def entries(story: Story, since: int = 0) -> list[str]:
    """Such as `2026-02-28 09:00 lapse -10`, in UTC."""
    return [f"{c.occurred_at:%Y-%m-%d %H:%M} {c.reason} {c.delta:+d}" for c in story.changes[since:]]


@pytest.mark.parametrize(
    ("zone", "anchor", "first_plan", "begins"),
    [
        pytest.param(
            "UTC", "2026-01-31", "2026-01-31",
            ["2026-02-28 00:00", "2026-03-31 00:00", "2026-04-30 00:00", "2026-05-31 00:00"],
            id="the 31st of a month that is shorter",
        ),
        pytest.param(
            "UTC", "2026-01-30", "2026-01-30", ["2026-02-28 00:00", "2026-03-30 00:00", "2026-04-30 00:00"],
            id="the 30th, which only February lacks",
        ),
        pytest.param(
            "UTC", "2026-01-29", "2026-01-29", ["2026-02-28 00:00", "2026-03-29 00:00"],
            id="the 29th in a common year",
        ),
        pytest.param(
            "UTC", "2028-01-29", "2028-01-29", ["2028-02-29 00:00", "2028-03-29 00:00"],
            id="the 29th in a leap year",
        ),
        pytest.param(
            "UTC", "2028-01-31", "2028-01-31", ["2028-02-29 00:00", "2028-03-31 00:00"],
            id="the 31st in a leap year",
        ),
        pytest.param(
            "UTC", "2028-02-29", "2028-12-30", ["2029-01-29 00:00", "2029-02-28 00:00", "2029-03-29 00:00"],
            id="anchored on 29 February, in a common year",
        ),
        pytest.param(
            "UTC", "2028-02-29", "2032-01-30", ["2032-02-29 00:00", "2032-03-29 00:00"],
            id="anchored on 29 February, in the next leap year",
        ),
        pytest.param(
            "UTC", "2096-02-29", "2100-01-30", ["2100-02-28 00:00", "2100-03-29 00:00"],
            id="2100 is no leap year",
        ),
        pytest.param(
            "UTC", "2000-01-31", "2000-01-31", ["2000-02-29 00:00", "2000-03-31 00:00"],
            id="2000 was one",
        ),
        pytest.param(
            "UTC", "2026-12-31 23:59:59.999999", "2026-12-31 23:59:59.999999", ["2027-01-31 23:59", "2027-02-28 23:59"],
            id="over the turn of the year",
        ),
        pytest.param(
            "Europe/Berlin", "2026-02-15 00:00+01:00", "2026-02-15", ["2026-03-14 23:00", "2026-04-14 22:00"],
            id="Berlin: midnight on the wall, winter and summer",
        ),
        pytest.param(
            "Europe/Berlin", "2026-01-29 02:30+01:00", "2026-01-30",
            ["2026-02-28 01:30", "2026-03-29 01:30", "2026-04-29 00:30"],
            id="Berlin: the clock skips 02:30, so 03:30",
        ),
        pytest.param(
            "Europe/Berlin", "2026-09-25 02:30+02:00", "2026-09-26", ["2026-10-25 00:30", "2026-11-25 01:30"],
            id="Berlin: 02:30 comes twice, the first counts",
        ),
        pytest.param(
            "Europe/Berlin", "2026-10-25 02:30+01:00", "2027-09-30", ["2027-10-25 00:30"],
            id="Berlin: anchored in the second 02:30, and the next year there is but one",
        ),
        pytest.param(
            "America/New_York", "2026-02-08 02:15-05:00", "2026-02-09", ["2026-03-08 07:15", "2026-04-08 06:15"],
            id="New York: the clock skips 02:15, so 03:15",
        ),
        pytest.param(
            "America/New_York", "2026-10-01 01:30-04:00", "2026-10-02", ["2026-11-01 05:30", "2026-12-01 06:30"],
            id="New York: 01:30 comes twice, the first counts",
        ),
        pytest.param(
            "Australia/Lord_Howe", "2026-09-04 02:15+10:30", "2026-09-05", ["2026-10-03 15:45", "2026-11-03 15:15"],
            id="Lord Howe: the clock skips half an hour, so 02:45",
        ),
        pytest.param(
            "Australia/Lord_Howe", "2026-03-05 01:45+11:00", "2026-03-06", ["2026-04-04 14:45", "2026-05-04 15:15"],
            id="Lord Howe: half an hour comes twice, the first counts",
        ),
        pytest.param(
            "Pacific/Apia", "2011-11-30 10:00-10:00", "2011-12-01", ["2011-12-30 20:00", "2012-01-29 20:00"],
            id="Apia left 30 December 2011 out, so the 31st",
        ),
        pytest.param(
            "Pacific/Kiritimati", "2026-01-31 00:00+14:00", "2026-01-31", ["2026-02-27 10:00", "2026-03-30 10:00"],
            id="Kiritimati: a day ahead of UTC, still the last day of its own month",
        ),
        pytest.param(
            "Asia/Kolkata", "2026-01-31 00:00+05:30", "2026-01-31", ["2026-02-27 18:30", "2026-03-30 18:30"],
            id="Kolkata: half an hour off, and no change of clocks",
        ),
    ],
)  # fmt: skip
def test_months_begin(zone: str, anchor: str, first_plan: str, begins: list[str]) -> None:
    story = Story(now=FAR)
    story.plan(10, first_plan, anchor=anchor, zone=zone)
    story.wait(begins[-1] + ":59.999999")

    assert entries(story, 1) == [entry for at in begins for entry in (f"{at} lapse -10", f"{at} renewal +10")]
    assert [f"{c.period_ends_at:%Y-%m-%d %H:%M}" for c in story.changes if c.reason == "lapse"] == begins


BEFORE, INSTANT, AFTER = "2026-01-31 23:59:59.999999", "2026-02-01", "2026-02-01 00:00:00.000001"
LAPSE, RENEWAL = "lapse -99", "renewal +100"

EVENTS: dict[str, Callable[[Story, str], str]] = {
    "generate": lambda story, at: story.generate("bob", at),
    "export": lambda story, at: story.export("bob", at),
    "bounce": lambda story, at: story.bounce("ann", at),
    "wrong email": lambda story, at: story.stage("ann", at),
    "import": lambda story, at: story.imports("bob", at),
    "transfer": lambda story, at: story.transfer("ann", at),
    "delete": lambda story, at: story.delete("ann", at),
    "purchase": lambda story, at: story.purchase(50, at),
    "a purchase that ends there": lambda story, at: story.purchase(50, at, expires="2026-02-01 00:00:00.000002"),
    "upgrade": lambda story, at: story.plan(150, at),
    "downgrade": lambda story, at: story.plan(30, at),
    "cancel": lambda story, at: story.plan(0, at),
    "unlimited": lambda story, at: story.plan(None, at),
}


@pytest.mark.parametrize(
    ("event", "at", "expected"),
    [
        ("generate", BEFORE, ["charge -1", "lapse -98", RENEWAL]),
        ("generate", INSTANT, [LAPSE, RENEWAL, "charge -1"]),
        ("generate", AFTER, [LAPSE, RENEWAL, "charge -1"]),
        ("export", BEFORE, ["charge -1", "lapse -98", RENEWAL]),
        ("export", INSTANT, [LAPSE, RENEWAL, "charge -1"]),
        ("bounce", BEFORE, ["refund +1", "lapse -100", RENEWAL]),
        ("bounce", INSTANT, [LAPSE, RENEWAL, "refund +1"]),
        ("bounce", AFTER, [LAPSE, RENEWAL, "refund +1"]),
        ("wrong email", INSTANT, [LAPSE, RENEWAL]),
        ("import", INSTANT, [LAPSE, RENEWAL]),
        ("transfer", INSTANT, [LAPSE, RENEWAL]),
        ("delete", INSTANT, [LAPSE, RENEWAL]),
        ("purchase", BEFORE, ["purchase +50", LAPSE, RENEWAL]),
        ("purchase", INSTANT, [LAPSE, RENEWAL, "purchase +50"]),
        ("purchase", AFTER, [LAPSE, RENEWAL, "purchase +50"]),
        ("a purchase that ends there", BEFORE, ["purchase +50", LAPSE, RENEWAL, "lapse -50"]),
        ("a purchase that ends there", INSTANT, [LAPSE, RENEWAL, "purchase +50", "lapse -50"]),
        ("upgrade", BEFORE, ["plan_change +50", "lapse -149", "renewal +150"]),
        ("upgrade", INSTANT, [LAPSE, "renewal +150"]),
        ("upgrade", AFTER, [LAPSE, RENEWAL, "plan_change +50"]),
        ("downgrade", BEFORE, [LAPSE, "renewal +30"]),
        ("downgrade", INSTANT, [LAPSE, "renewal +30"]),
        ("downgrade", AFTER, [LAPSE, RENEWAL]),
        ("cancel", BEFORE, [LAPSE]),
        ("cancel", INSTANT, [LAPSE]),
        ("cancel", AFTER, [LAPSE, RENEWAL]),
        ("unlimited", BEFORE, ["plan_change +0", LAPSE]),
        ("unlimited", INSTANT, [LAPSE, "plan_change +0"]),
        ("unlimited", AFTER, [LAPSE, RENEWAL, "plan_change +0"]),
    ],
    ids=lambda value: {BEFORE: "before", INSTANT: "on it", AFTER: "after"}.get(value) if isinstance(value, str) else "",
)
def test_at_the_turn_of_the_month(hundred: Story, event: str, at: str, expected: list[str]) -> None:
    hundred.generate("ann", "2026-01-05")
    EVENTS[event](hundred, at)
    hundred.wait("2026-02-02")

    assert hundred.log[2:] == expected


@pytest.mark.parametrize(("at", "became"), [("2026-01-31 23:59:59.999999", "declined"), ("2026-02-01", "charged")])
def test_what_was_used_up_is_there_again_on_the_instant(story: Story, at: str, became: str) -> None:
    story.plan(1, "2026-01-01")
    story.generate("ann")

    assert story.generate("bob", at) == became


def test_on_the_instant_it_does_not_matter_what_wakes_the_account(hundred: Story) -> None:
    other = Story()
    other.plan(100, "2026-01-01")
    other.wait("2026-02-01")
    for story in (hundred, other):
        story.generate("ann", "2026-02-01")

    assert entries(hundred) == entries(other)


@pytest.mark.parametrize("woken_by", ["an event", "timers"])
@pytest.mark.parametrize(
    ("limit", "anchor", "until", "months", "each"),
    [
        (100, "2026-01-01", "2027-01-31", 12, ["lapse -100", "renewal +100"]),
        (100, "2026-01-31", "2027-01-31", 12, ["lapse -100", "renewal +100"]),
        (100, "2025-02-28", "2027-01-31", 12, ["lapse -100", "renewal +100"]),
        (100, "2026-01-31", "2031-01-30", 59, ["lapse -100", "renewal +100"]),
        (0, "2026-01-01", "2027-01-31", 12, []),
        (None, "2026-01-01", "2027-01-31", 12, []),
    ],
    ids=["a year", "from the 31st", "from an anchor before", "almost five years", "cancelled", "unlimited"],
)
def test_each_month_that_passed_turns_once(
    story: Story, limit: int | None, anchor: str, until: str, months: int, each: list[str], woken_by: str
) -> None:
    story.plan(limit, "2026-01-31", anchor=anchor)
    opened = len(story.log)
    if woken_by == "timers":
        story.wait(until)
    else:
        story.bounce("nobody", until)

    assert story.log[opened:] == each * months
    assert [d.outcome for d in story.decisions].count("renewed") == months


def test_a_year_in_which_nothing_happens_spends_no_purchase(hundred: Story) -> None:
    hundred.purchase(50, "2026-01-10")
    hundred.purchase(7, "2026-01-10", name="to the summer", expires="2026-07-15")
    hundred.wait("2027-01-01")

    turn = ["lapse -100", "renewal +100"]
    assert hundred.log[3:] == [*turn * 6, "lapse -7", *turn * 6]
    assert hundred.balance == 150

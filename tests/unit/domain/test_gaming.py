"""Attempts to get more credits than were paid for. None has an effect."""

from __future__ import annotations

import pytest

from credit_service.domain.plan_change import ANCHOR_IGNORED
from support.domain import Story


def spend(story: Story, times: int, at: str | None = None) -> int:
    """Brings new prospects on; the number that were charged."""
    names = (f"p{len(story.decisions)}-{number}" for number in range(times))
    return [story.generate(name, at) for name in names].count("charged")


def granted(story: Story) -> int:
    return sum(change.delta for change in story.changes if change.reason in ("plan_change", "renewal"))


def test_spend_upgrade_downgrade_upgrade(story: Story) -> None:
    story.plan(10, "2026-01-01")
    assert spend(story, 10) == 10
    story.plan(20)
    assert spend(story, 20) == 10
    story.plan(10)
    assert spend(story, 5) == 0
    story.plan(20)

    assert spend(story, 5) == 0
    assert granted(story) == 20


def test_spend_unlimited_and_back(story: Story) -> None:
    story.plan(10, "2026-01-01")
    spend(story, 10)
    for _ in range(3):
        story.plan(None)
        story.plan(10)

    assert story.balance == 0
    assert spend(story, 1) == 0


def test_unlimited_for_a_second_and_bounces_of_what_was_taken_then(story: Story) -> None:
    story.plan(10, "2026-01-01")
    story.plan(None)
    names = [f"p{number}" for number in range(30)]
    for name in names:
        story.generate(name)
    story.plan(10)
    for name in names:
        assert story.bounce(name) == "refunded"

    assert story.balance == 10


def test_bounces_of_what_was_paid_for_while_it_is_unlimited_come_back_once(story: Story) -> None:
    story.plan(10, "2026-01-01")
    story.generate("ann")
    story.plan(None)
    story.bounce("ann")
    story.plan(10)

    assert story.bounce("ann") == "no-effect"
    assert story.balance == 10


def test_another_plan_every_day_of_a_month(story: Story) -> None:
    limits = [10, 40, 0, None, 25, 40, 5, None, 39, 40] * 3
    for day, limit in enumerate(limits, start=1):
        story.plan(limit, f"2026-01-{day:02}")
        spend(story, 3)

    assert granted(story) == 40
    assert story.wait("2026-02-01").log[-1] == "renewal +40"


def test_a_higher_plan_a_second_before_the_turn_and_a_lower_one_a_second_after(story: Story) -> None:
    story.plan(10, "2026-01-01")
    spend(story, 10)
    story.plan(1_000, "2026-01-31 23:59:59")
    story.plan(10, "2026-02-01 00:00:01")

    assert story.log[-3:] == ["plan_change +990", "lapse -990", "renewal +1000"]
    assert story.wait("2026-03-01").log[-2:] == ["lapse -1000", "renewal +10"]


def test_a_lower_plan_a_second_before_the_turn_and_a_higher_one_a_second_after(story: Story) -> None:
    story.plan(100, "2026-01-01")
    story.plan(10, "2026-01-31 23:59:59")
    story.plan(100, "2026-02-01 00:00:01")

    assert story.log == ["plan_change +100", "lapse -100", "renewal +10", "plan_change +90"]


def test_two_plans_on_the_very_instant_of_the_turn(story: Story) -> None:
    story.plan(10, "2026-01-01")
    story.plan(100, "2026-02-01")
    story.plan(30, "2026-02-01")
    story.plan(100, "2026-02-01")

    assert story.balance == 100
    assert granted(story) == 110


def test_cancel_and_come_back_within_the_month(story: Story) -> None:
    story.plan(100, "2026-01-01")
    spend(story, 60)
    for day in range(10, 20):
        story.plan(0, f"2026-01-{day}")
        story.plan(100, f"2026-01-{day} 12:00")

    assert story.balance == 40
    assert granted(story) == 100


def test_cancel_and_come_back_in_the_next_month(story: Story) -> None:
    story.plan(100, "2026-01-01")
    story.plan(0, "2026-01-20")
    story.plan(100, "2026-02-10")

    assert story.log == ["plan_change +100", "lapse -100", "plan_change +100"]
    story.plan(0, "2026-02-11")
    story.plan(100, "2026-02-12")
    assert story.balance == 100


@pytest.mark.parametrize("limit", [100, 0, None])
def test_the_billing_anchor_moved_to_the_day_of_the_next_event(story: Story, limit: int | None) -> None:
    story.plan(100, "2026-01-01")
    spend(story, 100)
    for day in range(10, 20):
        story.plan(limit, f"2026-01-{day}", anchor=f"2026-01-{day}", zone="Pacific/Kiritimati")
    story.plan(100, "2026-01-21", anchor="2026-01-22")
    story.wait("2026-01-31 23:59:59")

    assert story.balance == 0
    assert {d.note for d in story.decisions if d.type == "plan-changed"} == {None, ANCHOR_IGNORED}
    assert [d.outcome for d in story.decisions].count("renewed") == 0


def test_plans_dated_back_into_a_month_that_is_over(story: Story) -> None:
    story.plan(100, "2026-01-01")
    story.wait("2026-02-10")
    for day in range(11, 20):
        story.plan(100 + day, f"2026-02-{day}", effective=f"2026-01-{day}")

    assert granted(story) == 100 + 119


def test_plans_announced_for_one_instant(story: Story) -> None:
    story.plan(10, "2026-01-01")
    for hour in range(10):
        story.plan(100, f"2026-01-02 0{hour}:00", effective="2026-01-20")

    assert story.wait("2026-01-21").log == ["plan_change +10", "plan_change +90"]


def test_the_same_prospect_refunded_deleted_and_refunded_again_is_never_more_than_it_cost(story: Story) -> None:
    story.plan(10, "2026-01-01")
    for _ in range(20):
        assert story.generate("ann") == "charged"
        assert story.bounce("ann") == "refunded"
        assert story.bounce("ann") == "no-effect"
        story.delete("ann")
        assert story.bounce("ann") == "no-effect"

    assert story.balance == 10


def test_a_refund_by_bounce_and_by_request(story: Story) -> None:
    story.plan(10, "2026-01-01")
    story.generate("ann")
    story.stage("ann")
    story.bounce("ann")
    story.decide_refund(2, approve=True)

    assert story.balance == 10


def test_an_import_reported_after_the_bounce(story: Story) -> None:
    story.plan(10, "2026-01-01")
    story.generate("ann", "2026-01-03")
    story.bounce("ann", "2026-01-04")
    story.imports("ann", "2026-01-02")

    assert story.balance == 10


def test_a_purchase_reported_again_under_other_ids(story: Story) -> None:
    story.plan(0, "2026-01-01")
    for _ in range(10):
        story.purchase(50, name="once")

    assert story.balance == 50


def test_a_late_refund_spent_and_bounced_again_and_again(story: Story) -> None:
    story.plan(1, "2026-01-01")
    story.generate("ann")
    story.bounce("ann", "2026-02-10")
    for number in range(10):
        story.generate(f"p{number}")
        story.bounce(f"p{number}")

    assert story.balance == 2


def test_an_opened_account_that_is_switched_to_its_own_plan(story: Story) -> None:
    story.open_account(100, "2026-01-10")
    for limit in (100, 50, 100, None, 100):
        story.plan(limit)

    assert story.balance == 0

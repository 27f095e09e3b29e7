from __future__ import annotations

import pytest

from support.domain import Story, time


def seen(story: Story) -> list[tuple[str, int, int | None, int | None]]:
    """Each published change: reason, delta, and the balance before and after."""
    return [(c.reason, c.delta, c.previous_balance, c.balance) for c in story.changes]


@pytest.fixture
def unlimited(story: Story) -> Story:
    """An account whose first plan is unlimited."""
    story.plan(None, "2026-01-01")
    return story


def test_a_first_plan_that_is_unlimited_is_a_switch_from_nothing(unlimited: Story) -> None:
    assert seen(unlimited) == [("plan_change", 0, 0, None)]


def test_charges_and_refunds_are_recorded_with_a_sequence_each_and_take_nothing(unlimited: Story) -> None:
    unlimited.generate("ann")
    unlimited.export("bob")
    unlimited.bounce("ann")

    assert [c.sequence for c in unlimited.changes] == [1, 2, 3, 4]
    assert seen(unlimited)[1:] == [("charge", 0, None, None), ("charge", 0, None, None), ("refund", 0, None, None)]
    assert all(c.lines == [] for c in unlimited.changes)
    assert unlimited.changes[-1].refunds_sequence == 2


def test_nothing_is_ever_declined(unlimited: Story) -> None:
    assert [unlimited.generate(f"p{number}") for number in range(50)] == ["charged"] * 50
    assert unlimited.balance is None


def test_what_is_on_the_account_is_free_there_too(unlimited: Story) -> None:
    unlimited.generate("ann")

    assert [unlimited.generate("ann"), unlimited.export("ann")] == ["free", "free"]
    assert len(unlimited.changes) == 2


def test_a_switch_hides_the_balance_and_shows_it_again(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.plan(None)
    hundred.plan(100)

    assert seen(hundred)[2:] == [("plan_change", 0, 99, None), ("plan_change", 0, None, 99)]


def test_going_there_and_back_gives_no_credits(hundred: Story) -> None:
    for _ in range(5):
        hundred.plan(None)
        hundred.plan(100)

    assert hundred.balance == 100
    assert [delta for _, delta, _, _ in seen(hundred)] == [100] + [0] * 10


def test_coming_back_to_a_higher_plan_gives_the_difference_in_the_same_change(hundred: Story) -> None:
    hundred.plan(None)
    hundred.plan(130)

    assert seen(hundred)[-1] == ("plan_change", 30, None, 130)


def test_coming_back_from_an_unlimited_first_plan_gives_the_plans_credits(unlimited: Story) -> None:
    unlimited.generate("ann")
    unlimited.plan(100)

    assert seen(unlimited)[-1] == ("plan_change", 100, None, 100)


def test_a_switch_of_which_others_see_no_difference_is_recorded_still(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.plan(None)
    story.plan(0)

    assert seen(story) == [("plan_change", 0, 0, None), ("plan_change", 0, None, 0)]


def test_a_bounce_of_an_unlimited_charge_gives_nothing_after_coming_back(unlimited: Story) -> None:
    unlimited.generate("ann")
    unlimited.plan(10)

    assert unlimited.bounce("ann") == "refunded"
    assert seen(unlimited)[-1] == ("refund", 0, 10, 10)
    assert unlimited.bounce("ann") == "no-effect"


def test_the_approved_refund_of_an_unlimited_charge_gives_nothing_after_coming_back(unlimited: Story) -> None:
    unlimited.generate("ann")
    unlimited.stage("ann")
    unlimited.plan(10)

    assert unlimited.decide_refund(2, approve=True) == "refunded"
    assert seen(unlimited)[-1] == ("refund", 0, 10, 10)


def test_a_refund_of_an_unlimited_charge_is_not_late_in_a_later_month(unlimited: Story) -> None:
    unlimited.generate("ann")
    unlimited.plan(10, "2026-02-10")
    unlimited.bounce("ann")

    assert [(g.origin, g.remaining) for g in unlimited.grants] == [("plan", 10)]


def test_what_was_charged_while_unlimited_stays_free_after_coming_back(unlimited: Story) -> None:
    unlimited.generate("ann")
    unlimited.plan(10)

    assert unlimited.generate("ann") == "free"
    assert unlimited.balance == 10


def test_a_bounce_of_a_paid_charge_goes_home_beneath(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.plan(None)
    hundred.bounce("ann")

    assert seen(hundred)[-1] == ("refund", 1, None, None)
    assert hundred.held == 100


def test_what_is_beneath_is_left_alone_by_charges(hundred: Story) -> None:
    hundred.plan(None)
    for number in range(5):
        hundred.generate(f"p{number}")

    assert hundred.held == 100
    assert hundred.balance is None


def test_what_is_beneath_lapses_with_its_month(hundred: Story) -> None:
    hundred.plan(None)
    hundred.wait("2026-02-01")

    assert seen(hundred)[-1] == ("lapse", -100, None, None)
    assert hundred.held == 0


def test_a_purchase_goes_beneath_and_expires_there(unlimited: Story) -> None:
    unlimited.purchase(50, expires="2026-01-20")
    unlimited.wait("2026-01-20")

    assert seen(unlimited)[1:] == [("purchase", 50, None, None), ("lapse", -50, None, None)]


def test_a_month_begins_without_an_allowance(unlimited: Story) -> None:
    assert unlimited.wait("2026-03-01").log == ["plan_change +0"]
    assert [d.outcome for d in unlimited.decisions] == ["plan-in-force", "renewed", "renewed"]


def test_the_month_after_coming_back_is_a_month_like_any_other(unlimited: Story) -> None:
    unlimited.plan(100, "2026-01-10")

    assert unlimited.wait("2026-02-01").log[-2:] == ["lapse -100", "renewal +100"]


def test_unlimited_may_be_announced_and_begins_on_its_instant(hundred: Story) -> None:
    hundred.plan(None, "2026-01-05", effective="2026-01-20")
    hundred.generate("ann", "2026-01-19 23:59:59")
    hundred.generate("bob", "2026-01-20")

    assert seen(hundred)[1:] == [
        ("charge", -1, 100, 99),
        ("plan_change", 0, 99, None),
        ("charge", 0, None, None),
    ]
    assert hundred.changes[2].occurred_at == time("2026-01-20")


def test_a_remembered_bounce_refunds_an_unlimited_charge_with_nothing(story: Story) -> None:
    story.plan(None)
    story.bounce("ann")
    story.generate("ann")

    assert story.log == ["plan_change +0", "charge +0", "refund +0"]


def test_unlimited_to_unlimited_is_no_change(story: Story) -> None:
    story.plan(None)

    assert story.plan(None, name="other") == "plan-in-force"
    assert len(story.changes) == 1
    assert story.plan_in_force is not None
    assert story.plan_in_force.plan_id == "other"

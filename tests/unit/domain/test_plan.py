from __future__ import annotations

import pytest

from credit_service.domain.plan_change import ANCHOR_IGNORED
from support.domain import Story, time


def test_the_first_plan_grants_its_credits_at_once(story: Story) -> None:
    assert story.plan(100) == "plan-in-force"
    assert story.log == ["plan_change +100"]
    assert (story.changes[0].previous_balance, story.changes[0].balance) == (0, 100)


def test_the_first_plans_credits_last_to_the_end_of_its_period(story: Story) -> None:
    story.plan(100, "2026-01-10", anchor="2025-12-20")

    assert [(g.origin, g.effective_at, g.expires_at) for g in story.grants] == [
        ("plan", time("2026-01-10"), time("2026-01-20"))
    ]


def test_a_first_plan_with_an_earlier_effective_at_works_from_its_event_on(story: Story) -> None:
    assert story.plan(100, "2026-04-15", effective="2026-01-31") == "plan-in-force"
    assert story.log == ["plan_change +100"]
    assert story.period is not None
    assert (story.period.starts_at, story.period.ends_at) == (time("2026-03-31"), time("2026-04-30"))


def test_an_upgrade_gives_the_difference_at_once(hundred: Story) -> None:
    hundred.generate("ann")

    assert hundred.plan(150) == "plan-in-force"
    assert hundred.balance == 149
    assert hundred.log[-1] == "plan_change +50"
    assert hundred.grants[-1].expires_at == time("2026-02-01")


def test_a_downgrade_takes_nothing_away_and_counts_from_the_next_renewal(hundred: Story) -> None:
    hundred.plan(30)

    assert hundred.balance == 100
    assert hundred.log == ["plan_change +100"]
    assert hundred.wait("2026-02-01").balance == 30


@pytest.mark.parametrize(
    ("limits", "granted"),
    [
        ([100, 50, 100], 100),
        ([100, 200, 50, 200], 200),
        ([100, 0, 100, 0, 150], 150),
        ([10, 20, 30, 20, 30, 40], 40),
        ([100, None, 100], 100),
        ([100, None, 130, None, 130], 130),
        ([None, 100, None, 100], 100),
    ],
)
def test_switching_to_and_fro_never_gives_more_than_the_highest_plan(
    story: Story, limits: list[int | None], granted: int
) -> None:
    for limit in limits:
        story.plan(limit)

    assert sum(change.delta for change in story.changes) == granted


def test_spending_between_the_switches_gives_nothing_more_either(hundred: Story) -> None:
    for limit in (50, 100, 120, 20, 120):
        hundred.generate(f"before {limit}")
        hundred.plan(limit)

    assert hundred.balance == 120 - 4


def test_what_was_granted_counts_from_anew_in_each_period(hundred: Story) -> None:
    hundred.plan(50, "2026-01-10")
    hundred.plan(80, "2026-02-10")

    assert hundred.log == ["plan_change +100", "lapse -100", "renewal +50", "plan_change +30"]


@pytest.mark.parametrize("limit", [0, None])
def test_what_was_granted_is_nothing_in_a_month_without_an_allowance(hundred: Story, limit: int | None) -> None:
    hundred.plan(limit, "2026-01-10")
    hundred.plan(50, "2026-02-10")

    assert hundred.balance == 50


def test_a_plan_of_zero_keeps_the_months_credits_and_grants_no_more(hundred: Story) -> None:
    assert hundred.plan(0) == "plan-in-force"
    assert hundred.balance == 100
    assert hundred.wait("2026-03-01").log == ["plan_change +100", "lapse -100"]
    assert hundred.generate("ann") == "declined"


def test_a_first_plan_of_zero_changes_nothing(story: Story) -> None:
    assert story.plan(0) == "plan-in-force"
    assert story.changes == []
    assert story.balance == 0


def test_a_plan_older_than_the_one_in_force_is_superseded(hundred: Story) -> None:
    hundred.plan(200, "2026-01-20", name="newer")

    assert hundred.plan(500, "2026-01-10", name="older") == "plan-superseded"
    assert hundred.balance == 200
    assert hundred.plan_in_force is not None
    assert hundred.plan_in_force.plan_id == "newer"


def test_the_effective_time_counts_before_the_events_own(hundred: Story) -> None:
    hundred.plan(200, "2026-01-20", effective="2026-01-05")

    assert hundred.plan(300, "2026-01-10") == "plan-in-force"
    assert hundred.plan(500, "2026-01-25", effective="2026-01-08") == "plan-superseded"


def test_at_the_same_effective_time_the_later_event_wins(hundred: Story) -> None:
    hundred.plan(200, "2026-01-20", effective="2026-01-05")

    assert hundred.plan(300, "2026-01-19", effective="2026-01-05") == "plan-superseded"
    assert hundred.plan(400, "2026-01-21", effective="2026-01-05") == "plan-in-force"


def test_at_the_same_times_the_later_arrival_wins(hundred: Story) -> None:
    hundred.plan(200, "2026-01-20", name="first")

    assert hundred.plan(150, "2026-01-20", name="second") == "plan-in-force"
    assert hundred.plan_in_force is not None
    assert hundred.plan_in_force.plan_id == "second"


def test_a_plan_to_come_that_is_older_than_the_one_in_force_is_superseded(hundred: Story) -> None:
    hundred.plan(200, "2026-01-25")

    assert hundred.plan(500, "2026-01-10", effective="2026-01-20") == "plan-superseded"
    assert hundred.wait("2026-01-31").balance == 200


def test_a_superseded_plan_stays_without_effect_at_the_renewal(hundred: Story) -> None:
    hundred.plan(200, "2026-01-20")
    hundred.plan(500, "2026-01-10")

    assert hundred.wait("2026-02-01").log[-1] == "renewal +200"


def test_a_plan_to_come_waits_for_its_time(hundred: Story) -> None:
    assert hundred.plan(150, "2026-01-10", effective="2026-01-20 12:00") == "plan-pending"
    assert hundred.wait("2026-01-20 11:59:59").balance == 100
    assert hundred.wait("2026-01-20 12:00").balance == 150

    change = hundred.changes[-1]
    assert (change.reason, change.occurred_at, change.cause.type) == (
        "plan_change",
        time("2026-01-20 12:00"),
        "plan-changed",
    )
    assert hundred.grants[-1].effective_at == time("2026-01-20 12:00")


def test_a_plan_that_has_come_into_force_does_so_once(hundred: Story) -> None:
    hundred.plan(150, "2026-01-10", effective="2026-01-20")
    hundred.wait("2026-01-25")

    assert hundred.rows.pending == set()
    assert hundred.wait("2026-01-26").log == ["plan_change +100", "plan_change +50"]


def test_an_event_brings_a_plan_to_come_into_force_first(hundred: Story) -> None:
    hundred.plan(None, "2026-01-10", effective="2026-01-20")
    hundred.generate("ann", "2026-01-20")

    assert hundred.log == ["plan_change +100", "plan_change +0", "charge +0"]


def test_of_plans_to_come_at_one_instant_the_greater_wins(hundred: Story) -> None:
    hundred.plan(150, "2026-01-10", effective="2026-01-20", name="announced later")
    hundred.plan(300, "2026-01-05", effective="2026-01-20", name="announced earlier")

    assert hundred.wait("2026-01-20").log == ["plan_change +100", "plan_change +50"]
    assert hundred.rows.pending == set()


def test_a_plan_to_come_gives_way_to_a_greater_one_that_came_first(hundred: Story) -> None:
    hundred.plan(150, "2026-01-10", effective="2026-01-20")
    hundred.plan(120, "2026-01-20", effective="2026-01-20")

    assert hundred.wait("2026-01-21").log == ["plan_change +100", "plan_change +20"]


def test_a_backdated_plan_gives_way_to_one_that_takes_effect_at_that_instant(hundred: Story) -> None:
    hundred.plan(150, "2026-01-10", effective="2026-01-20")

    assert hundred.plan(500, "2026-01-20", effective="2026-01-15") == "plan-superseded"
    assert hundred.balance == 150


def test_plans_to_come_take_effect_one_after_the_other(hundred: Story) -> None:
    hundred.plan(200, "2026-01-02", effective="2026-01-20")
    hundred.plan(150, "2026-01-03", effective="2026-01-10")

    assert hundred.wait("2026-01-31").log == ["plan_change +100", "plan_change +50", "plan_change +50"]


@pytest.mark.parametrize("effective", ["2026-02-01", "2026-01-15", None])
def test_a_plan_event_at_the_very_instant_of_the_renewal_gives_nothing_of_its_own(
    hundred: Story, effective: str | None
) -> None:
    assert hundred.plan(150, "2026-02-01", effective=effective) == "plan-in-force"
    assert hundred.log == ["plan_change +100", "lapse -100", "renewal +150"]
    assert hundred.balance == 150


def test_an_older_plan_at_the_very_instant_of_the_renewal_is_superseded(hundred: Story) -> None:
    hundred.plan(200, "2026-01-20")

    assert hundred.plan(500, "2026-02-01", effective="2026-01-10") == "plan-superseded"
    assert hundred.wait("2026-02-01").log[-2:] == ["lapse -200", "renewal +200"]


@pytest.mark.parametrize("limit", [150, 30])
def test_a_plan_to_come_at_the_very_instant_of_the_renewal_sets_its_allowance(hundred: Story, limit: int) -> None:
    hundred.plan(limit, "2026-01-10", effective="2026-02-01")
    hundred.wait("2026-02-01")

    assert hundred.log == ["plan_change +100", "lapse -100", f"renewal +{limit}"]


def test_a_switch_to_unlimited_at_the_very_instant_of_the_renewal_comes_after_the_lapse(hundred: Story) -> None:
    hundred.plan(None, "2026-02-01")

    assert hundred.log == ["plan_change +100", "lapse -100", "plan_change +0"]
    switch = hundred.changes[-1]
    assert (switch.previous_balance, switch.balance, switch.period_ends_at) == (0, None, time("2026-03-01"))


def test_a_switch_back_at_the_very_instant_of_the_renewal_comes_before_the_allowance(story: Story) -> None:
    story.plan(None, "2026-01-01")
    story.plan(50, "2026-02-01")

    assert [(c.reason, c.previous_balance, c.balance) for c in story.changes[1:]] == [
        ("plan_change", None, 0),
        ("renewal", 0, 50),
    ]


def test_a_first_plan_to_come_opens_the_account_with_no_credits(story: Story) -> None:
    assert story.plan(100, "2026-01-10", effective="2026-01-20", anchor="2026-01-01") == "plan-pending"
    assert story.generate("ann") == "declined"
    assert story.wait("2026-01-20").log == ["plan_change +100"]


def test_a_first_plan_to_come_begins_its_months_at_its_own_time(story: Story) -> None:
    story.plan(100, "2026-01-10", effective="2026-01-20")

    assert story.wait("2026-02-20").log == ["renewal +100", "lapse -100", "renewal +100"]
    assert [c.occurred_at for c in story.changes] == [time("2026-01-20"), time("2026-02-20"), time("2026-02-20")]


def test_a_plan_may_come_into_force_while_the_first_is_still_to_come(story: Story) -> None:
    story.plan(100, "2026-01-10", effective="2026-01-20")

    assert story.plan(10, "2026-01-12") == "plan-in-force"
    assert story.balance == 10


def test_anchor_and_zone_are_those_of_the_first_plan(hundred: Story) -> None:
    hundred.plan(100, "2026-01-10", anchor="2026-01-15")
    hundred.plan(100, "2026-01-11", zone="Europe/Berlin")

    assert [d.note for d in hundred.decisions] == [None, ANCHOR_IGNORED, ANCHOR_IGNORED]
    assert hundred.wait("2026-01-31").log == ["plan_change +100"]
    assert hundred.wait("2026-02-01").log[-1] == "renewal +100"


def test_naming_the_same_anchor_and_zone_again_is_worth_no_note(story: Story) -> None:
    story.plan(100, "2026-01-10", anchor="2026-01-01", zone="Europe/Berlin")
    story.plan(150, "2026-01-11", anchor="2026-01-01", zone="Europe/Berlin")
    story.plan(160, "2026-01-12")

    assert [d.note for d in story.decisions] == [None, None, None]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, (5, 7)),
        ({"seats": 9}, (9, 7)),
        ({"email_accounts": 0}, (5, 0)),
        ({"seats": 1, "email_accounts": 2}, (1, 2)),
    ],
)
def test_seats_and_email_accounts_are_unchanged_when_absent(
    story: Story, given: dict[str, int], kept: tuple[int, int]
) -> None:
    story.plan(100, seats=5, email_accounts=7)
    story.plan(200, seats=given.get("seats"), email_accounts=given.get("email_accounts"))

    plan = story.plan_in_force
    assert plan is not None
    assert (plan.seats, plan.email_accounts) == kept


def test_seats_of_a_plan_to_come_are_those_in_force_when_it_takes_effect(story: Story) -> None:
    story.plan(100, "2026-01-01", seats=5)
    story.plan(200, "2026-01-02", effective="2026-01-20", seats=6)
    story.plan(300, "2026-01-03", effective="2026-01-10")
    story.plan(400, "2026-01-04", effective="2026-01-25")

    def seats(at: str) -> int | None:
        plan = story.wait(at).plan_in_force
        return plan.seats if plan else None

    assert [seats("2026-01-09"), seats("2026-01-10"), seats("2026-01-20"), seats("2026-01-25")] == [5, 5, 6, 6]


def test_a_late_plan_change_gives_in_the_current_period(hundred: Story) -> None:
    hundred.wait("2026-02-10")

    assert hundred.plan(150, "2026-01-20") == "plan-in-force"
    assert hundred.log[-1] == "plan_change +50"
    assert hundred.grants[-1].expires_at == time("2026-03-01")


def test_seats_of_a_plan_that_begins_with_a_month_are_those_in_force_then(story: Story) -> None:
    story.plan(100, "2026-01-01", seats=5, email_accounts=7)
    story.plan(200, "2026-01-02", effective="2026-02-01")
    story.plan(100, "2026-01-10", seats=6)

    plan = story.wait("2026-02-01").plan_in_force
    assert plan is not None
    assert (plan.monthly_credits, plan.seats, plan.email_accounts) == (200, 6, 7)


def test_seats_of_a_superseded_plan_count_for_nothing(hundred: Story) -> None:
    hundred.plan(200, "2026-01-20", seats=5)
    hundred.plan(500, "2026-01-10", seats=9)

    assert hundred.plan_in_force is not None
    assert hundred.plan_in_force.seats == 5


def test_a_plan_to_come_that_arrives_after_its_time_takes_effect_in_the_current_period(hundred: Story) -> None:
    hundred.wait("2026-02-10")
    assert hundred.plan(150, "2026-01-10", effective="2026-01-20") == "plan-pending"
    hundred.wait("2026-02-10")

    assert hundred.log == ["plan_change +100", "lapse -100", "renewal +100", "plan_change +50"]
    assert (hundred.changes[-1].occurred_at, hundred.changes[-1].period_ends_at) == (
        time("2026-01-20"),
        time("2026-03-01"),
    )


def test_an_earlier_plan_to_come_may_arrive_after_a_later_one(hundred: Story) -> None:
    hundred.plan(50, "2026-01-05", effective="2026-01-25")
    hundred.plan(150, "2026-01-06", effective="2026-01-15")

    assert hundred.wait("2026-02-01").log == ["plan_change +100", "plan_change +50", "lapse -150", "renewal +50"]


def test_a_plan_to_come_may_be_announced_on_the_very_instant_of_a_renewal(hundred: Story) -> None:
    assert hundred.plan(150, "2026-02-01", effective="2026-02-10") == "plan-pending"
    assert hundred.log == ["plan_change +100", "lapse -100", "renewal +100"]
    assert hundred.wait("2026-02-10").log[-1] == "plan_change +50"


@pytest.mark.parametrize("limit", [150, 50, 0, None])
def test_a_plan_change_that_changes_nothing_for_the_account_is_recorded(hundred: Story, limit: int | None) -> None:
    hundred.plan(limit)
    changes = len(hundred.changes)

    assert hundred.plan(limit, name="renamed") == "plan-in-force"
    assert len(hundred.changes) == changes
    assert hundred.plan_in_force is not None
    assert hundred.plan_in_force.plan_id == "renamed"


def test_a_cancelled_account_keeps_its_purchases_and_its_prospects(hundred: Story) -> None:
    hundred.purchase(1)
    hundred.generate("ann")
    hundred.plan(0)
    hundred.wait("2026-02-01")

    assert hundred.export("ann") == "free"
    assert [hundred.generate("bob"), hundred.generate("cy")] == ["charged", "declined"]

from __future__ import annotations

from datetime import timedelta

import pytest

from credit_service.domain.decide import Rules
from credit_service.domain.refund import LateRefund
from support.domain import Story, time


def with_late_refunds(kind: str, days: int = 0) -> Story:
    assert kind in ("current-period", "days", "forfeit")
    story = Story(Rules(LateRefund(kind, days)))  # type: ignore[arg-type]
    story.plan(100, "2026-01-01")
    return story


def test_a_bounce_gives_the_credit_back_to_the_grant_it_came_from(hundred: Story) -> None:
    hundred.plan(150)
    hundred.generate("ann")

    assert hundred.bounce("ann") == "refunded"
    assert hundred.balance == 150
    assert [g.remaining for g in hundred.grants] == [100, 50]
    assert [change.lines for change in hundred.changes[-2:]] == [[(1, -1)], [(1, 1)]]


def test_a_bounce_of_an_exported_prospect_gives_the_credit_back(hundred: Story) -> None:
    hundred.export("ann")

    assert hundred.bounce("ann") == "refunded"
    assert hundred.balance == 100


def test_a_refund_names_its_charge(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.generate("bob")
    hundred.bounce("ann")

    charge, refund = hundred.changes[1], hundred.changes[-1]
    assert (charge.reason, refund.reason) == ("charge", "refund")
    assert refund.refunds_sequence == charge.sequence


def test_a_second_bounce_gives_nothing(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.bounce("ann")

    assert hundred.bounce("ann") == "no-effect"
    assert hundred.bounce("ann", "2026-02-10") == "no-effect"
    assert hundred.balance == 100


def test_a_soft_bounce_gives_nothing(hundred: Story) -> None:
    hundred.generate("ann")

    assert hundred.bounce("ann", kind="soft") == "no-effect"
    assert hundred.balance == 99
    assert hundred.bounce("ann") == "refunded"


def test_a_soft_bounce_is_not_remembered(hundred: Story) -> None:
    hundred.bounce("ann", kind="soft")
    hundred.generate("ann")

    assert hundred.balance == 99


def test_a_bounce_before_its_charge_waits_for_it(hundred: Story) -> None:
    assert hundred.bounce("ann") == "awaiting-charge"
    assert hundred.generate("ann") == "charged"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]
    assert hundred.balance == 100


def test_the_remembered_bounce_is_the_cause_of_the_refund(hundred: Story) -> None:
    hundred.bounce("ann", "2026-01-05", event_id="the bounce")
    hundred.export("ann", event_id="the export")

    charge, refund = hundred.changes[1:]
    assert (charge.cause.id, charge.cause.type) == ("the export", "prospect-exported")
    assert (refund.cause.id, refund.cause.type) == ("the bounce", "email-bounced")
    assert (refund.cause.position, refund.cause.prospect_id) == (2, "ann")
    assert refund.occurred_at == time("2026-01-05")
    assert refund.refunds_sequence == charge.sequence


def test_the_first_of_several_early_bounces_is_remembered_and_refunds_once(hundred: Story) -> None:
    hundred.bounce("ann", event_id="first")
    assert hundred.bounce("ann", event_id="second") == "awaiting-charge"
    hundred.generate("ann")

    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]
    assert hundred.changes[-1].cause.id == "first"
    assert hundred.bounce("ann", event_id="third") == "no-effect"


def test_a_remembered_bounce_outlives_a_decline(story: Story) -> None:
    story.plan(0)
    story.bounce("ann")
    assert story.generate("ann") == "declined"
    story.plan(5)
    story.generate("ann")

    assert story.log == ["plan_change +5", "charge -1", "refund +1"]


def test_a_remembered_bounce_refunds_an_unlimited_charge_with_nothing(story: Story) -> None:
    story.plan(None)
    story.bounce("ann")
    story.generate("ann")

    assert story.log == ["plan_change +0", "charge +0", "refund +0"]


def test_a_bounce_of_what_was_declined_waits_for_a_charge(story: Story) -> None:
    story.plan(0)
    story.generate("ann")

    assert story.bounce("ann") == "awaiting-charge"


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

    assert story.grants[-1].expires_at == time("2026-02-10 12:00") + timedelta(days=30)
    assert story.wait("2026-03-12 11:59").log[-2:] == ["lapse -100", "renewal +100"]
    assert story.balance == 101
    assert story.wait("2026-03-12 12:00").log[-1] == "lapse -1"


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


def test_the_refund_of_an_unlimited_charge_is_recorded_with_nothing_in_it(story: Story) -> None:
    story.plan(None)
    story.generate("ann")

    assert story.bounce("ann") == "refunded"
    refund = story.changes[-1]
    assert (refund.sequence, refund.previous_balance, refund.balance, refund.lines) == (3, None, None, [])
    assert refund.refunds_sequence == 2


def test_the_refund_of_an_unlimited_charge_mints_nothing_after_switching_back(story: Story) -> None:
    story.plan(None)
    story.generate("ann")
    story.plan(10)

    assert story.bounce("ann") == "refunded"
    assert story.balance == 10
    refund = story.changes[-1]
    assert (refund.previous_balance, refund.balance, refund.delta) == (10, 10, 0)
    assert story.bounce("ann") == "no-effect"


def test_the_refund_of_a_paid_charge_goes_home_beneath_an_unlimited_plan(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.plan(None)
    hundred.bounce("ann")

    refund = hundred.changes[-1]
    assert (refund.delta, refund.previous_balance, refund.balance) == (1, None, None)
    assert hundred.held == 100

from __future__ import annotations

from support.domain import Story, time


def test_generating_a_prospect_costs_one_credit(hundred: Story) -> None:
    assert hundred.generate("ann") == "charged"
    assert hundred.balance == 99
    assert hundred.log == ["plan_change +100", "charge -1"]


def test_exporting_a_prospect_that_is_not_on_the_account_costs_one_credit(hundred: Story) -> None:
    assert hundred.export("ann") == "charged"
    assert hundred.balance == 99


def test_what_is_on_the_account_is_free(hundred: Story) -> None:
    hundred.generate("ann")

    assert hundred.generate("ann") == "free"
    assert hundred.export("ann") == "free"
    assert hundred.balance == 99
    assert len(hundred.changes) == 2


def test_what_was_exported_is_on_the_account(hundred: Story) -> None:
    hundred.export("ann")

    assert hundred.export("ann") == "free"
    assert hundred.generate("ann") == "free"
    assert hundred.balance == 99


def test_what_was_refunded_stays_on_the_account(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.bounce("ann")

    assert hundred.export("ann") == "free"
    assert hundred.generate("ann") == "free"
    assert hundred.balance == 100


def test_what_is_on_the_account_stays_free_in_later_months(hundred: Story) -> None:
    hundred.generate("ann")

    assert hundred.export("ann", "2026-05-05") == "free"
    assert hundred.balance == 100


def test_a_charge_that_is_not_covered_is_declined(story: Story) -> None:
    story.plan(1)
    story.generate("ann")

    assert story.generate("bob") == "declined"
    assert story.balance == 0
    assert story.log == ["plan_change +1", "charge -1"]


def test_what_was_declined_is_not_on_the_account(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.generate("ann")

    assert story.prospect("ann") is None
    story.plan(1)
    assert story.export("ann") == "charged"


def test_a_decline_stays_when_credits_come_later(story: Story) -> None:
    story.plan(0)
    story.generate("ann", event_id="first try")
    story.plan(10)

    assert story.generate("ann", event_id="first try") == "duplicate"
    assert story.balance == 10
    assert story.generate("ann", event_id="second try") == "charged"


def test_free_comes_before_declined(story: Story) -> None:
    story.plan(1)
    story.generate("ann")

    assert story.generate("ann") == "free"


def test_declines_are_counted_with_the_one_that_says_so(story: Story) -> None:
    story.plan(0, "2026-01-01")
    for name in ("ann", "bob", "cy"):
        story.generate(name)

    assert [d.declined_in_period for d in story.decisions] == [None, 1, 2, 3]
    assert {d.period_ends_at for d in story.decisions[1:]} == {time("2026-02-01")}


def test_declines_are_counted_anew_in_each_period(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.generate("ann")
    story.generate("ann")
    story.generate("ann", "2026-02-01")

    assert [d.declined_in_period for d in story.decisions if d.outcome == "declined"] == [1, 2, 1]


def test_a_late_event_is_charged_in_the_current_period(hundred: Story) -> None:
    hundred.generate("ann", "2026-02-10")
    hundred.generate("bob", "2026-01-15")

    assert hundred.log[-3:] == ["renewal +100", "charge -1", "charge -1"]
    assert hundred.changes[-1].period_ends_at == time("2026-03-01")
    assert hundred.changes[-1].occurred_at == time("2026-01-15")

from __future__ import annotations

import pytest

from credit_contracts.outgoing import SERVICE_SOURCE, BalanceChanged
from credit_service.domain.command import Adjust, command_of
from credit_service.domain.decision import Adjustment
from credit_service.domain.published import balance_changed
from support.domain import ACCOUNT, Story, time
from support.published import read_back


def grants(story: Story) -> list[tuple[str, int, int, str | None]]:
    return [
        (g.origin, g.remaining, g.amount, f"{g.expires_at:%Y-%m-%d}" if g.expires_at else None) for g in story.grants
    ]


def test_what_is_given_is_a_grant_of_its_own_that_outlives_the_month(hundred: Story) -> None:
    assert hundred.adjust(50, "2026-01-05") == "adjusted"

    assert grants(hundred) == [("plan", 100, 100, "2026-02-01"), ("adjustment", 50, 50, None)]
    assert hundred.grants[-1].effective_at == time("2026-01-05")
    assert hundred.balance == 150
    assert hundred.wait("2026-02-01").log[-2:] == ["lapse -100", "renewal +100"]
    assert hundred.balance == 150


def test_who_gave_what_and_why_is_kept_with_the_decision(hundred: Story) -> None:
    hundred.adjust(50, expires="2026-01-20", reason="an outage")

    decision = hundred.decisions[-1]
    assert (decision.type, decision.outcome, decision.source, decision.id) == (
        "adjustment",
        "adjusted",
        SERVICE_SOURCE,
        "adjustment:a-1",
    )
    assert hundred.rows.adjustments == {
        (ACCOUNT, decision.position): Adjustment(ACCOUNT, decision.position, 50, time("2026-01-20"), "ops", "an outage")
    }


def test_an_adjustment_as_others_see_it(hundred: Story) -> None:
    hundred.adjust(-7, "2026-01-05")
    data = read_back(balance_changed(hundred.changes[-1])).data

    assert isinstance(data, BalanceChanged)
    assert (data.sequence, data.previous_balance, data.balance, data.delta) == (2, 100, 93, -7)
    assert (data.reason, data.cause.source, data.cause.id, data.cause.type) == (
        "adjustment",
        SERVICE_SOURCE,
        "adjustment:a-1",
        "adjustment",
    )
    assert (data.occurred_at, data.prospect_id) == (time("2026-01-05"), None)


def test_what_was_given_until_then_lapses_on_its_instant(hundred: Story) -> None:
    hundred.adjust(50, "2026-01-05", expires="2026-01-20")
    hundred.generate("ann", "2026-01-06")

    assert hundred.wait("2026-01-19 23:59").balance == 149
    assert hundred.wait("2026-01-20").log[-1] == "lapse -49"
    assert hundred.balance == 100


def test_what_was_given_without_an_end_burns_last(hundred: Story) -> None:
    hundred.adjust(50)
    hundred.generate("ann")

    assert [g.remaining for g in hundred.grants] == [99, 50]


@pytest.mark.parametrize("expires", ["2026-01-05", "2026-01-04"])
def test_nothing_is_given_that_has_expired_already(hundred: Story, expires: str) -> None:
    assert hundred.adjust(50, "2026-01-05", expires=expires) == "expired"
    assert hundred.log == ["plan_change +100"]


def test_what_is_taken_comes_from_what_burns_first(hundred: Story) -> None:
    hundred.purchase(30, "2026-01-02", expires="2026-01-20")
    hundred.adjust(50, "2026-01-03", command="given")

    assert hundred.adjust(-10, "2026-01-04") == "adjusted"
    assert [(g.origin, g.remaining) for g in hundred.grants] == [("plan", 100), ("purchase", 20), ("adjustment", 50)]


def test_what_is_taken_from_several_grants_is_one_change_with_a_line_each(hundred: Story) -> None:
    hundred.purchase(30, "2026-01-02", expires="2026-01-20")
    hundred.adjust(50, "2026-01-03", command="given")

    hundred.adjust(-140, "2026-01-04")

    change = hundred.changes[-1]
    assert (change.sequence, change.delta, change.lines) == (4, -140, [(2, -30), (1, -100), (3, -10)])
    assert (change.previous_balance, change.balance) == (180, 40)


def test_all_can_be_taken_and_nothing_more(hundred: Story) -> None:
    hundred.generate("ann")

    assert hundred.adjust(-100, command="too much") == "below-zero"
    assert hundred.log == ["plan_change +100", "charge -1"]
    assert hundred.adjust(-99) == "adjusted"
    assert hundred.balance == 0
    assert hundred.adjust(-1, command="one more") == "below-zero"


def test_what_was_refused_leaves_nothing_and_its_name_is_free(hundred: Story) -> None:
    hundred.adjust(-101)

    assert (len(hundred.decisions), hundred.rows.adjustments) == (1, {})
    assert hundred.adjust(-100) == "adjusted"


def test_a_refund_goes_home_also_where_credits_were_taken_since(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.adjust(-99)
    hundred.bounce("ann")

    assert grants(hundred) == [("plan", 1, 100, "2026-02-01")]


def test_timers_that_are_due_come_first(hundred: Story) -> None:
    hundred.adjust(-100, "2026-02-01")

    assert hundred.log == ["plan_change +100", "lapse -100", "renewal +100", "adjustment -100"]


def test_credits_that_have_lapsed_cannot_be_taken(hundred: Story) -> None:
    hundred.purchase(30, "2026-01-02", expires="2026-01-20")

    assert hundred.adjust(-101, "2026-01-20") == "below-zero"
    assert hundred.log[-1] == "lapse -30"


def test_beneath_an_unlimited_plan_the_grants_change_and_no_balance_shows(hundred: Story) -> None:
    hundred.plan(None)
    assert hundred.adjust(5) == "adjusted"
    assert hundred.adjust(-2, command="taken") == "adjusted"

    given, taken = hundred.changes[-2:]
    assert [(c.previous_balance, c.balance, c.delta) for c in (given, taken)] == [(None, None, 5), (None, None, -2)]
    assert hundred.held == 103
    assert hundred.adjust(-104, command="too much") == "below-zero"


def test_an_adjustment_is_no_credit_of_the_plan(hundred: Story) -> None:
    hundred.adjust(-60)
    hundred.plan(120)

    assert hundred.log[-1] == "plan_change +20"


def test_before_a_first_plan_nothing_can_be_adjusted(story: Story) -> None:
    assert story.adjust(5) == "not-open"
    story.generate("ann")
    assert story.adjust(5) == "not-open"
    assert (story.waiting, story.log) == (1, [])


def test_what_waits_for_an_opened_account_comes_first(story: Story) -> None:
    story.generate("ann", "2026-01-05")
    story.open_account(100, "2026-01-10", remaining=1)

    assert story.adjust(-1, "2026-01-11") == "below-zero"
    assert story.log == ["opening +1", "charge -1"]


@pytest.mark.parametrize("amount", [5, -5])
def test_the_same_order_again_has_the_same_answer_and_no_second_effect(hundred: Story, amount: int) -> None:
    hundred.adjust(amount, expires="2026-01-20" if amount > 0 else None)
    before = (list(hundred.log), len(hundred.decisions))

    # Also when it could not be done any more.
    assert hundred.adjust(amount, "2026-01-21", expires="2026-01-20" if amount > 0 else None) == "adjusted"
    assert (hundred.log, len(hundred.decisions)) == before


def test_the_same_order_twice_in_one_batch_is_once(hundred: Story) -> None:
    order = command_of(ACCOUNT, Adjust(5, None, "ops", "why"), "a-1")
    answers = hundred.batch([order, order]).answers

    assert [(answer.outcome, answer.is_new) for answer in answers] == [("adjusted", True), ("adjusted", False)]
    assert hundred.balance == 105


def test_an_order_of_the_same_name_that_says_something_else_is_a_conflict(hundred: Story) -> None:
    hundred.adjust(5)

    assert hundred.adjust(6) == "conflict"
    assert hundred.adjust(-5) == "conflict"
    assert hundred.adjust(5, expires="2026-03-01") == "conflict"
    assert hundred.adjust(5, reason="another") == "conflict"
    assert hundred.balance == 105

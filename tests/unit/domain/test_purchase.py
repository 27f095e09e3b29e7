from __future__ import annotations

import pytest

from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.purchase import PURCHASE_KNOWN
from support.domain import Story, time


def left(story: Story) -> list[tuple[str, int]]:
    return [(grant.origin, grant.remaining) for grant in story.grants]


def test_a_purchase_grants_credits_beside_the_months(hundred: Story) -> None:
    assert hundred.purchase(50, "2026-01-10", name="first") == "purchased"
    assert hundred.log == ["plan_change +100", "purchase +50"]
    assert (hundred.changes[-1].previous_balance, hundred.changes[-1].balance) == (100, 150)
    assert [(g.origin, g.amount, g.effective_at, g.expires_at) for g in hundred.grants[1:]] == [
        ("purchase", 50, time("2026-01-10"), None)
    ]


def test_purchased_credits_do_not_lapse_with_the_month(hundred: Story) -> None:
    hundred.purchase(50)
    hundred.wait("2026-03-01")

    assert hundred.log[2:] == ["lapse -100", "renewal +100"] * 2
    assert hundred.balance == 150


def test_the_months_credits_burn_before_those_that_never_expire(story: Story) -> None:
    story.purchase(1, "2026-01-01", name="before the plan")
    story.plan(1, "2026-01-02")
    story.generate("ann")
    assert left(story) == [("plan", 0), ("purchase", 1)]
    story.generate("bob")

    assert left(story) == [("plan", 0), ("purchase", 0)]
    assert story.generate("cy") == "declined"


@pytest.mark.parametrize(
    ("expires", "first"),
    [("2026-01-31", "purchase"), ("2026-02-01", "plan"), ("2026-02-02", "plan"), (None, "plan")],
    ids=["before the month's end", "with the month", "after it", "never"],
)
def test_what_expires_soonest_burns_first(hundred: Story, expires: str | None, first: str) -> None:
    hundred.purchase(100, expires=expires)
    hundred.generate("ann")

    assert [origin for origin, remaining in left(hundred) if remaining == 99] == [first]


def test_of_purchases_that_expire_together_the_oldest_burns_first(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.purchase(5, "2026-01-10", name="newer", expires="2026-06-01")
    story.purchase(6, "2026-01-05", name="older", expires="2026-06-01")
    story.generate("ann")

    assert left(story) == [("purchase", 5), ("purchase", 5)]


def test_a_purchase_that_never_expires_burns_last(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.purchase(5, name="never")
    story.purchase(5, name="some day", expires="2090-01-01")
    story.generate("ann")

    assert left(story) == [("purchase", 5), ("purchase", 4)]


def test_a_purchase_expires_on_its_instant(hundred: Story) -> None:
    hundred.purchase(50, expires="2026-01-20 12:00")
    hundred.generate("ann")
    assert hundred.wait("2026-01-20 11:59:59.999999").balance == 149

    hundred.wait("2026-01-20 12:00")
    lapse, decision = hundred.changes[-1], hundred.decisions[-1]
    assert (lapse.reason, lapse.lines, lapse.sequence) == ("lapse", [(2, -49)], 4)
    assert (lapse.previous_balance, lapse.balance, lapse.occurred_at) == (149, 100, time("2026-01-20 12:00"))
    assert (lapse.cause.source, lapse.cause.type) == (SERVICE_SOURCE, "expiry")
    assert (decision.type, decision.outcome, decision.occurred_at) == ("expiry", "expired", time("2026-01-20 12:00"))
    assert hundred.wait("2026-01-31").log[-1] == "lapse -49"


def test_an_event_on_the_instant_finds_the_purchase_expired(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.purchase(5, expires="2026-01-20")

    assert story.generate("ann", "2026-01-19 23:59:59.999999") == "charged"
    assert story.generate("bob", "2026-01-20") == "declined"
    assert story.log == ["purchase +5", "charge -1", "lapse -4"]


def test_purchases_that_expire_together_lapse_in_one_change_with_an_entry_each(hundred: Story) -> None:
    hundred.purchase(5, name="one", expires="2026-01-20")
    hundred.purchase(6, name="two", expires="2026-01-20")
    hundred.wait("2026-01-20")

    assert hundred.changes[-1].lines == [(2, -5), (3, -6)]
    assert [d.type for d in hundred.decisions].count("expiry") == 1


def test_an_expiry_at_the_turn_of_the_month_shares_its_lapse(hundred: Story) -> None:
    hundred.purchase(50, expires="2026-02-01")
    hundred.wait("2026-02-01")

    assert hundred.log[-2:] == ["lapse -150", "renewal +100"]
    lapse = hundred.changes[-2]
    assert (lapse.lines, lapse.cause.type) == ([(1, -100), (2, -50)], "renewal")
    assert [d.type for d in hundred.decisions if d.source == SERVICE_SOURCE] == ["renewal"]


def test_what_is_used_up_expires_without_a_change(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.purchase(1, expires="2026-01-20")
    story.generate("ann")

    assert story.wait("2026-01-20").log == ["purchase +1", "charge -1"]
    assert story.grants == []
    assert story.decisions[-1].outcome == "expired"


def test_a_purchase_counts_once_whatever_the_events_id(hundred: Story) -> None:
    hundred.purchase(50, name="one")

    assert hundred.purchase(50, name="one") == "no-effect"
    assert hundred.purchase(70, "2026-03-03", name="one") == "no-effect"
    assert hundred.balance == 150
    assert [d.note for d in hundred.decisions if d.type == "credits-purchased"] == [
        None,
        PURCHASE_KNOWN,
        PURCHASE_KNOWN,
    ]
    assert hundred.purchase(50, name="two") == "purchased"


def test_a_purchase_counts_once_also_after_it_expired(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.purchase(5, name="one", expires="2026-01-10")

    assert story.purchase(5, "2026-01-20", name="one") == "no-effect"
    assert story.balance == 0


def test_a_purchase_goes_beneath_an_unlimited_plan(story: Story) -> None:
    story.plan(None)
    story.purchase(50)

    change = story.changes[-1]
    assert (change.reason, change.delta, change.previous_balance, change.balance) == ("purchase", 50, None, None)
    story.generate("ann")
    assert (story.balance, story.held) == (None, 50)
    story.plan(0)
    assert story.balance == 50


def test_a_purchase_before_the_first_plan_waits_for_it(story: Story) -> None:
    assert story.purchase(50, "2026-01-01") == "parked"
    story.plan(100, "2026-01-02")

    assert story.log == ["plan_change +100", "purchase +50"]


def test_a_purchase_that_waited_past_its_expiry_is_granted_and_lapses(story: Story) -> None:
    story.purchase(50, "2026-01-01", expires="2026-01-03")
    story.plan(100, "2026-01-10")
    story.wait("2026-01-10")

    assert story.log == ["plan_change +100", "purchase +50", "lapse -50"]
    assert story.changes[-1].occurred_at == time("2026-01-03")


def test_a_late_purchase_is_granted_as_of_its_own_time(hundred: Story) -> None:
    hundred.wait("2026-03-10")

    assert hundred.purchase(50, "2026-01-15") == "purchased"
    assert hundred.grants[-1].effective_at == time("2026-01-15")
    assert (hundred.changes[-1].occurred_at, hundred.changes[-1].period_ends_at) == (
        time("2026-01-15"),
        time("2026-04-01"),
    )


def test_a_late_purchase_that_has_expired_since_lapses_with_the_next_event(hundred: Story) -> None:
    hundred.wait("2026-03-10")
    hundred.purchase(50, "2026-01-15", expires="2026-02-15")
    hundred.generate("ann", "2026-03-10")

    assert hundred.log[-3:] == ["purchase +50", "lapse -50", "charge -1"]
    assert hundred.balance == 99


@pytest.mark.parametrize("limit", [500, 10, 0, None])
def test_a_plan_change_never_touches_purchased_credits(hundred: Story, limit: int | None) -> None:
    hundred.purchase(50)
    hundred.plan(limit)

    assert ("purchase", 50) in left(hundred)
    hundred.wait("2026-02-01")
    assert ("purchase", 50) in left(hundred)


def test_a_purchase_does_not_count_towards_what_the_plan_has_granted(hundred: Story) -> None:
    hundred.purchase(50)
    hundred.plan(150)

    assert hundred.log == ["plan_change +100", "purchase +50", "plan_change +50"]


def test_a_refund_goes_home_into_a_purchase_in_a_later_month(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.purchase(5, expires="2026-06-01")
    story.generate("ann")

    assert story.bounce("ann", "2026-04-10") == "refunded"
    assert left(story) == [("purchase", 5)]


def test_a_refund_after_the_purchase_expired_is_late(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.purchase(5, expires="2026-03-15")
    story.generate("ann")
    story.bounce("ann", "2026-03-15")

    assert [(g.origin, g.remaining, g.expires_at) for g in story.grants] == [("refund", 1, time("2026-04-01"))]

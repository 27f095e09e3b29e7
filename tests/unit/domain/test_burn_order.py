from __future__ import annotations

import pytest

from credit_service.domain.grant import Grant, first_to_burn
from credit_service.domain.rules import LateRefund, Rules
from support.domain import Story, time


def grant(number: int, expires: str | None, opened: str = "2026-01-01", remaining: int = 1) -> Grant:
    expires_at = time(expires) if expires else None
    return Grant(number, "plan", 10, remaining, time(opened), expires_at, position=number)


@pytest.mark.parametrize(
    ("grants", "first"),
    [
        ([grant(1, "2026-03-01"), grant(2, "2026-02-01")], 2),
        ([grant(1, None), grant(2, "2030-01-01")], 2),
        ([grant(1, None), grant(2, "9999-12-31 23:59:59.999999", "2026-01-02")], 2),
        ([grant(1, "2026-02-01", "2026-01-02"), grant(2, "2026-02-01", "2026-01-01")], 2),
        ([grant(2, "2026-02-01"), grant(1, "2026-02-01")], 1),
        ([grant(1, None, "2026-01-02"), grant(2, None, "2026-01-01")], 2),
        ([grant(1, "2026-02-01", remaining=0), grant(2, "2026-03-01")], 2),
        ([grant(1, "2026-02-01", "2026-01-02"), grant(2, "2026-03-01", "2026-01-01")], 1),
    ],
    ids=[
        "the soonest expiry",
        "what expires before what never does",
        "what expires at the last instant before what never does",
        "then the oldest",
        "then the first opened",
        "the oldest of those that never expire",
        "an empty one is passed over",
        "expiry counts before age",
    ],
)
def test_a_charge_takes_from(grants: list[Grant], first: int) -> None:
    chosen = first_to_burn(grants)

    assert chosen is not None
    assert chosen.grant_id == first


def test_nothing_burns_where_nothing_is_left() -> None:
    assert first_to_burn([grant(1, "2026-02-01", remaining=0)]) is None
    assert first_to_burn([]) is None


def test_the_months_credits_burn_before_a_refund_that_lives_longer() -> None:
    story = Story(Rules(LateRefund("days", 60)))
    story.plan(1, "2026-01-01")
    story.generate("ann")
    story.bounce("ann", "2026-02-10")
    story.generate("bob")

    assert [(g.origin, g.remaining) for g in story.grants] == [("plan", 0), ("refund", 1)]


def test_a_refund_that_ends_sooner_burns_before_the_months_credits() -> None:
    story = Story(Rules(LateRefund("days", 3)))
    story.plan(1, "2026-01-01")
    story.generate("ann")
    story.bounce("ann", "2026-02-10")
    story.generate("bob")

    assert [(g.origin, g.remaining) for g in story.grants] == [("plan", 1), ("refund", 0)]


def test_an_upgrades_credits_burn_after_the_older_ones_of_the_month(hundred: Story) -> None:
    hundred.plan(150, "2026-01-10")
    hundred.generate("ann")

    assert [g.remaining for g in hundred.grants] == [99, 50]

"""The numbers of an account are limited: an input that might exceed them is refused and has no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from credit_service import bounds
from credit_service.domain.account import Account
from credit_service.domain.event import Wake
from credit_service.domain.room import FILLING, is_filling, is_full
from support.domain import ACCOUNT, time
from support.small_bounds import small_bounds

if TYPE_CHECKING:
    from support.domain import Story


def test_an_event_of_a_full_account_is_refused(story: Story) -> None:
    with small_bounds(ACCOUNT_NUMBERS_MAX=3):
        assert story.plan(10, "2026-01-01") == "plan-in-force"
        assert [story.generate(name) for name in ("ann", "bob", "cho")] == ["charged", "charged", "account-full"]
        assert story.plan(20) == "account-full"
        assert story.adjust(1) == "account-full"
    assert story.balance == 8
    # A refused event was not decided: once there is room again, it has its effect.
    assert story.generate("cho") == "charged"


def test_a_repeat_is_one_also_where_the_account_is_full(story: Story) -> None:
    with small_bounds(ACCOUNT_NUMBERS_MAX=2):
        story.plan(10, "2026-01-01")
        assert story.generate("ann", event_id="once") == "charged"
        assert story.generate("ann", event_id="once") == "duplicate"
        assert story.generate("bob", event_id="once") == "conflict"


def test_an_account_holds_so_many_credits(story: Story) -> None:
    with small_bounds(ACCOUNT_CREDITS_MAX=100):
        story.plan(90, "2026-01-01")
        assert story.purchase(20) == "purchased"
        assert story.purchase(20, name="more") == "account-full"


def test_one_event_is_decided_whole_with_all_that_waits_and_is_due(story: Story) -> None:
    """The numbers beyond the bound are reserved for it."""
    for name in ("ann", "bob", "cho"):
        story.generate(name, "2026-01-02")
    with small_bounds(ACCOUNT_NUMBERS_MAX=1):
        assert story.plan(2, "2026-01-01") == "plan-in-force"
    assert [d.outcome for d in story.decisions] == ["plan-in-force", "charged", "charged", "declined"]


def test_months_of_a_full_account_turn_no_more_and_are_not_due(story: Story) -> None:
    story.plan(10, "2026-01-01")
    with small_bounds(ACCOUNT_NUMBERS_MAX=1):
        story.wait("2026-03-15")
        assert len(story.decisions) == 1
        assert story.rows.load([Wake(ACCOUNT, time("2026-03-15"), 1)], unparked_max=1)[ACCOUNT].next_timer_at is None


@pytest.mark.parametrize("number", ["position", "sequence", "last_grant_id", "balance"])
def test_each_number_counts(number: str) -> None:
    most = bounds.ACCOUNT_CREDITS_MAX if number == "balance" else bounds.ACCOUNT_NUMBERS_MAX
    account = Account(ACCOUNT)
    for value, filling, full in (
        (0, False, False),
        (int(most * FILLING) - 1, False, False),
        (int(most * FILLING) + 1, True, False),
        (most - 1, True, False),
        (most, True, True),
    ):
        setattr(account, number, value)
        assert (is_filling(account), is_full(account)) == (filling, full), value


def test_what_is_kept_is_enough_for_one_transaction() -> None:
    """The most that one needs: all parked events of an account, each with all stays of a prospect, and all timers."""
    of_each = 3 * bounds.HISTORY_MAX
    turns = (2100 - 1970) * 12
    kept = 2**31 - 1 - bounds.ACCOUNT_NUMBERS_MAX
    assert kept > 10 * (bounds.UNPARKED_PER_ACCOUNT_MAX + bounds.BATCH_RECORDS_MAX) * (of_each + 3) + 3 * turns
    assert (bounds.UNPARKED_PER_ACCOUNT_MAX + 1 + 3 * turns) * 10**9 < 2**53 - 1 - bounds.ACCOUNT_CREDITS_MAX

"""The wakes before commands have transactions of their own only if they are too many for the same transaction."""

from __future__ import annotations

import pytest

from credit_service.domain.catch_up import Portion, TimerBounds
from credit_service.domain.command import Adjust, CommandData, DecideRefund, OpenProspect, OpenPurchase, command_of
from credit_service.domain.event import EARLIEST, Wake
from credit_service.domain.orders import portion_of_commands
from credit_service.domain.rules import Rules
from support.domain import ACCOUNT, Story, time
from support.small_bounds import small_bounds

ONE_TURN = TimerBounds(of_batch=1, of_account=1)
LATER = time("2026-04-15")
GIVE = Adjust(1, None, "ops", "a reason")
REFUND = DecideRefund(2, True, "ops", "a reason")


def portion(story: Story, data: CommandData, within: TimerBounds = ONE_TURN) -> Portion:
    command = command_of(ACCOUNT, data, "c-1")
    accounts = story.rows.load([command], unparked_max=story.rules.unparked_max)
    return portion_of_commands(accounts, [command], LATER, within)


@pytest.fixture
def behind() -> Story:
    """An account with a refund request and a plan, whose renewals of several months are due."""
    story = Story()
    story.plan(10, "2026-01-02", anchor="2026-01-01")
    story.generate("ann")
    story.stage("ann")
    return story


@pytest.mark.parametrize("data", [GIVE, REFUND, OpenPurchase("bought", 1, None), OpenProspect("bob", "generated")])
def test_turns_that_are_too_many_come_first(behind: Story, data: CommandData) -> None:
    inputs, taken = portion(behind, data)

    assert (inputs, taken) == ([Wake(ACCOUNT, LATER, 1)], 0)


def test_turns_that_are_few_come_along(behind: Story) -> None:
    assert portion(behind, GIVE, TimerBounds()).taken == 1


@pytest.mark.parametrize(
    "data",
    [
        DecideRefund(9, True, "ops", "nobody asked"),
        OpenPurchase("bought", 1, time("2026-01-03")),
        OpenProspect("ann", "generated"),
    ],
)
def test_a_command_that_is_refused_has_no_turns_come_first(behind: Story, data: CommandData) -> None:
    assert portion(behind, data).taken == 1


def test_what_is_ordered_again_has_nothing_come_first(behind: Story) -> None:
    behind.adjust(1, "2026-01-05", command="c-1")

    assert portion(behind, GIVE).taken == 1


def test_an_adjustment_is_not_known_to_be_refused_before_its_turns(behind: Story) -> None:
    assert portion(behind, Adjust(-999, None, "ops", "a reason")).taken == 0


@pytest.fixture
def queue() -> Story:
    """An account with a plan and parked events, of which a batch decides one."""
    story = Story(Rules(unparked_max=1))
    for prospect in ("ann", "bob", "cy"):
        story.generate(prospect, "2026-01-02")
    story.plan(10, "2026-01-03")
    return story


def test_an_order_comes_behind_all_that_waits(queue: Story) -> None:
    assert portion(queue, GIVE) == Portion([Wake(ACCOUNT, EARLIEST, 0)], 0)
    queue.wait("1970-01-01")
    # The last one comes along.
    assert portion(queue, GIVE).taken == 1


@pytest.mark.parametrize("data", [REFUND, OpenProspect("dee", "generated")])
def test_what_is_refused_or_opened_waits_for_nobody(queue: Story, data: CommandData) -> None:
    assert portion(queue, data).taken == 1


def test_nothing_precedes_an_order_on_a_full_account() -> None:
    """A regression: the wake before the command unparked nothing, and the command was retried for ever."""
    story = Story(Rules(unparked_max=1))
    for name in ("ann", "bob", "cy"):
        story.generate(name)
    story.plan(10, "2026-01-01")
    with small_bounds(ACCOUNT_NUMBERS_MAX=1):
        assert portion(story, GIVE).taken == 1
        assert story.adjust(1) == "account-full"

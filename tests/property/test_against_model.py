"""The domain and a model that was written independently agree on every outcome and every balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from credit_contracts.incoming import IncomingData
from credit_service import bounds
from credit_service.application.processing.timer_sweep import NO_TIMERS
from credit_service.domain.catch_up import Input, next_portion
from credit_service.domain.command import Command, CommandData
from credit_service.domain.decided import Decided
from credit_service.domain.event import Wake
from credit_service.domain.orders import portion_of_commands
from credit_service.domain.rules import LateRefund, Rules
from property.machine import AccountMachine, Change, State
from support.domain import ACCOUNT, Story, time
from support.examples import examples
from support.small_bounds import OF_COLUMNS, SMALL, read_by, small_bounds

CLOCK = datetime(2500, 1, 1, tzinfo=UTC)
"""Ahead of whatever a history comes to."""
WRITTEN_SINCE = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
"""What lies before it came late to its topic."""


class DomainAlone:
    """The account as the domain keeps it, each step a batch of its own."""

    account_id = ACCOUNT
    clock = datetime(1970, 1, 1, tzinfo=UTC)

    def __init__(self, late_refund: LateRefund, story: type[Story] = Story) -> None:
        self.late_refund = late_refund
        self._story = story(Rules(late_refund), now=CLOCK)

    def happens(self, data: IncomingData, at: datetime, event_id: str) -> str:
        return self._story.happens(data, at.isoformat(), event_id, self.written_at(at).isoformat())

    def written_at(self, at: datetime) -> datetime:
        return max(at, WRITTEN_SINCE)

    def ordered(self, data: CommandData, at: datetime, command_id: str) -> str:
        return self._story.ordered(data, at.isoformat(), command_id)

    def wait(self, until: datetime) -> None:
        self._story.wait(until.isoformat())

    def woken_up_to(self) -> datetime | None:
        return None

    def state(self) -> State:
        story = self._story
        by_origin = Counter[str]()
        for grant in story.grants:
            by_origin[grant.origin] += grant.remaining
        row = story.rows.accounts.get(ACCOUNT, {"declined_in_period": 0, "position": 0})
        declined, position = row["declined_in_period"], row["position"]
        assert isinstance(declined, int)
        assert isinstance(position, int)
        return State(story.held, story.balance, declined, position, dict(+by_origin), story.requests)

    def changes(self, after: int) -> list[Change]:
        return [
            Change(c.sequence, c.previous_balance, c.balance, c.delta, c.reason) for c in self._story.changes[after:]
        ]


class DomainAgainstModel(AccountMachine):
    def begin(self, late_refund: LateRefund) -> DomainAlone:
        return DomainAlone(late_refund)


TestDomainAgainstModel = DomainAgainstModel.TestCase
TestDomainAgainstModel.settings = settings(max_examples=examples(400), stateful_step_count=50)


class StoryInPortions(Story):
    """Decides as the service does: what one transaction takes on, then the rest; sweeps wake what still waits."""

    def batch(self, inputs: Sequence[Input]) -> Decided:
        whole, left = Decided(), list(inputs)
        while left:
            accounts = self.rows.load(left, unparked_max=self.rules.unparked_max)
            commands = [item for item in left if isinstance(item, Command)]
            if commands:
                portion = portion_of_commands(accounts, commands, self.now)
            else:
                portion = next_portion(accounts, left, self.now)
            _add(whole, super().batch(portion.inputs))
            del left[: portion.taken]
        # Once some of those that wait were let in, sweeps let in the rest.
        while whole.unparked and self.waiting:
            _add(whole, super().batch([Wake(ACCOUNT, NO_TIMERS, 0)]))
        return whole

    def wait(self, until: str, *, timers_max: int = 1_000_000) -> Story:
        for _ in range(timers_max):
            self.batch([Wake(ACCOUNT, time(until), bounds.TIMERS_PER_ACCOUNT_MAX)])
            due = self.rows.accounts.get(ACCOUNT, {}).get("next_timer_at")
            if not isinstance(due, datetime) or due > time(until):
                break
        return self


def _add(to: Decided, more: Decided) -> None:
    to.decisions += more.decisions
    to.unparked += more.unparked
    to.refused += more.refused
    to.duplicates += more.duplicates
    to.answers += more.answers


class DomainInPortionsAgainstModel(AccountMachine):
    def begin(self, late_refund: LateRefund) -> DomainAlone:
        return DomainAlone(late_refund, StoryInPortions)


def domain_bounds() -> list[str]:
    return sorted(read_by("domain") - OF_COLUMNS)


@pytest.mark.parametrize("name", domain_bounds())
def test_a_small_bound_does_not_show(name: str) -> None:
    few = settings(max_examples=examples(80), stateful_step_count=50, phases=[Phase.generate, Phase.shrink])
    with small_bounds(**{name: SMALL[name]}):
        run_state_machine_as_test(DomainInPortionsAgainstModel, settings=few)


def test_a_command_without_effect_brings_no_turns_about() -> None:
    def decided(story: Story) -> list[str]:
        story.plan(5, "2026-01-01", anchor="2026-01-01")
        assert story.open_account(5, "2026-03-15") == "has-a-plan"
        return [decision.type for decision in story.decisions]

    in_one_go = decided(Story())
    with small_bounds(TIMERS_PER_BATCH_MAX=1):
        assert decided(StoryInPortions()) == in_one_go


def test_an_order_comes_behind_all_that_waited() -> None:
    def decided(story: Story) -> list[str]:
        for prospect in ("ann", "bob"):
            story.generate(prospect, "2026-01-02")
        assert story.open_account(5, "2026-01-03") == "opened"
        assert story.adjust(1, "2026-01-04") == "adjusted"
        return [decision.type for decision in story.decisions]

    whole = decided(Story())
    with small_bounds(UNPARKED_PER_ACCOUNT_MAX=1):
        assert decided(StoryInPortions()) == whole

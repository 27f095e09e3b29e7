"""The domain and a model that was written independently agree on every outcome and every balance."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from hypothesis import settings

from credit_contracts.incoming import IncomingData
from credit_service.domain.command import CommandData
from credit_service.domain.decide import Rules
from credit_service.domain.refund import LateRefund
from property.machine import AccountMachine, Change, State
from support.domain import ACCOUNT, Story
from support.examples import examples

CLOCK = datetime(2500, 1, 1, tzinfo=UTC)
"""Ahead of whatever a history comes to."""


class DomainAlone:
    """The account as the domain keeps it, each step a batch of its own."""

    account_id = ACCOUNT
    clock = datetime(1970, 1, 1, tzinfo=UTC)

    def __init__(self, late_refund: LateRefund) -> None:
        self.late_refund = late_refund
        self._story = Story(Rules(late_refund), now=CLOCK)

    def happens(self, data: IncomingData, at: datetime, event_id: str) -> str:
        return self._story.happens(data, at.isoformat(), event_id)

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

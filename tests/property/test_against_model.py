"""The domain and a model that was written independently agree on every outcome and every balance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from credit_contracts.incoming import EmailBounced, PlanChanged, ProspectExported, ProspectGenerated
from credit_service.domain.decide import Rules
from credit_service.domain.refund import LateRefund
from property.model import Model
from support.domain import ACCOUNT, Story

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK = datetime(2500, 1, 1, tzinfo=UTC)
"""Ahead of whatever a history comes to."""

prospects = st.sampled_from([f"p{n}" for n in range(8)])
limits = st.sampled_from([None, 0, 1, 2, 3, 5, 8])
# Mostly in order, sometimes weeks late.
late_days = st.sampled_from([0, 0, 0, 0, 0, 0.5, 5, 40])
effective_days = st.sampled_from([0, 0, 0, -20, -0.5, 0.5, 5, 31, 60])


class AccountAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.at = ANCHOR

    @initialize(limit=limits, day=st.sampled_from([0, 0.5, 20]), effective=effective_days, forfeit=st.booleans())
    def opens(self, limit: int | None, day: float, effective: float, *, forfeit: bool) -> None:
        self.model = Model(forfeit)
        self.story = Story(Rules(LateRefund("forfeit" if forfeit else "current-period")), now=CLOCK)
        self.at += timedelta(days=day)
        self._plan(limit, self.at, self.at + timedelta(days=effective))

    @rule(days=st.sampled_from([0.01, 0.5, 1, 5]))
    def some_days_pass(self, days: float) -> None:
        self.at += timedelta(days=days)

    @rule(months=st.sampled_from([1, 1, 1, 3, 14]))
    def months_begin(self, months: int) -> None:
        """To the very instant at which a month begins."""
        year, month = divmod(self.at.year * 12 + self.at.month - 1 + months, 12)
        self.at = datetime(year, month + 1, 1, tzinfo=UTC)

    @rule()
    def timers_wake(self) -> None:
        self.story.wait(self.at.isoformat())
        self.model.passes(self.at)

    @rule(prospect=prospects, late=late_days)
    def generated(self, prospect: str, late: float) -> None:
        at = self.at - timedelta(days=late)
        data = ProspectGenerated(account_id=ACCOUNT, prospect_id=prospect)
        assert self.story.happens(data, at.isoformat()) == self.model.brought(prospect, at)

    @rule(prospect=prospects, late=late_days)
    def exported(self, prospect: str, late: float) -> None:
        at = self.at - timedelta(days=late)
        data = ProspectExported(account_id=ACCOUNT, prospect_id=prospect)
        assert self.story.happens(data, at.isoformat()) == self.model.brought(prospect, at)

    @rule(prospect=prospects, late=late_days)
    def bounced(self, prospect: str, late: float) -> None:
        at = self.at - timedelta(days=late)
        data = EmailBounced(account_id=ACCOUNT, prospect_id=prospect)
        assert self.story.happens(data, at.isoformat()) == self.model.bounce(prospect, at)

    @rule(limit=limits, late=late_days, effective=effective_days)
    def plan_changed(self, limit: int | None, late: float, effective: float) -> None:
        at = self.at - timedelta(days=late)
        self._plan(limit, at, at + timedelta(days=effective))

    @rule(limit=limits)
    def plan_changes_with_the_next_month(self, limit: int | None) -> None:
        year, month = divmod(self.at.year * 12 + self.at.month, 12)
        self._plan(limit, self.at, datetime(year, month + 1, 1, tzinfo=UTC))

    def _plan(self, limit: int | None, at: datetime, effective_at: datetime) -> None:
        data = PlanChanged(
            account_id=ACCOUNT,
            plan_id="p",
            monthly_credits=limit,
            effective_at=effective_at,
            billing_anchor_at=ANCHOR,
        )
        assert self.story.happens(data, at.isoformat()) == self.model.plan_changed(limit, at, effective_at)

    @invariant()
    def balances_agree(self) -> None:
        assert self.story.held == len(self.model.tokens)
        assert self.story.balance == (None if self.model.unlimited else len(self.model.tokens))


TestAccountAgainstModel = AccountAgainstModel.TestCase
TestAccountAgainstModel.settings = settings(max_examples=200, stateful_step_count=40)

"""Histories to draw from: few accounts and prospects over several months, so that things collide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from credit_contracts.incoming import EmailBounced, IncomingData, PlanChanged, ProspectExported, ProspectGenerated
from credit_service.domain.decide import Rules
from credit_service.domain.decision import Incoming, Wake
from credit_service.domain.refund import LateRefund
from support.domain import event

if TYPE_CHECKING:
    from credit_contracts.incoming import BounceType

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

names = st.sampled_from(["acme", "bolt"])
prospects = st.sampled_from(["ann", "bob", "cy", "dee"])
limits = st.sampled_from([None, 0, 1, 2, 3, 5, 20])

# Days from the plan's own time; whole days meet the turns of the month, which are at midnight too.
_effective_days = st.sampled_from([None, None, None, -20, -1, 0, 1, 5, 31, 45])
_gap_days = st.sampled_from([0, 0, 0, 0.01, 0.01, 1, 1, 3, 10, 28, 31, 70])
_late_days = st.sampled_from([0, 0, 0, 0, 0, 1, 10, 40])


def rules(unparked_max: int = 1_000) -> st.SearchStrategy[Rules]:
    late_refunds = st.sampled_from([LateRefund(), LateRefund("days", 5), LateRefund("days", 45), LateRefund("forfeit")])
    return late_refunds.map(lambda late_refund: Rules(late_refund, unparked_max))


@st.composite
def _steps(draw: st.DrawFn, kinds: list[str]) -> tuple[str, str, str, float, float, int | None, float | None]:
    return (
        draw(names),
        draw(st.sampled_from(kinds)),
        draw(prospects),
        draw(_gap_days),
        draw(_late_days),
        draw(limits),
        draw(_effective_days),
    )


def data_of(
    account_id: str, kind: str, prospect_id: str, at: datetime, limit: int | None, effective_days: float | None
) -> IncomingData:
    match kind:
        case "plan":
            effective_at = None if effective_days is None else at + effective_days * DAY
            return PlanChanged(
                account_id=account_id, plan_id="p", monthly_credits=limit, effective_at=effective_at,
                billing_anchor_at=START, time_zone="Europe/Berlin" if account_id == "bolt" else None,
            )  # fmt: skip
        case "generate":
            return ProspectGenerated(account_id=account_id, prospect_id=prospect_id)
        case "export":
            return ProspectExported(account_id=account_id, prospect_id=prospect_id)
        case _:
            bounce_type: BounceType = "soft" if kind == "soft bounce" else "hard"
            return EmailBounced(account_id=account_id, prospect_id=prospect_id, bounce_type=bounce_type)


KINDS = ["plan", "plan", "generate", "generate", "generate", "export", "bounce", "bounce", "soft bounce"]


@st.composite
def histories(
    draw: st.DrawFn, *, wakes: bool = True, late: bool = True, reused_ids: bool = True
) -> list[Incoming | Wake]:
    """Events in their order of arrival; some late, some with an id that was there before, and wakes between them."""
    items: list[Incoming | Wake] = []
    at = START
    steps = draw(st.lists(_steps([*KINDS, "wake"] if wakes else KINDS), max_size=40))
    for number, (name, kind, prospect, gap_days, late_days, limit, effective_days) in enumerate(steps):
        at += gap_days * DAY
        if kind == "wake":
            items.append(Wake(name, at, timers_max=2))
            continue
        occurred_at = at - late_days * DAY if late else at
        data = data_of(name, kind, prospect, occurred_at, limit, effective_days)
        # Every eighth takes an id of its neighbourhood: a repeat, or a conflict.
        event_id = number - number % 4 if reused_ids and number % 8 == 7 else number
        items.append(event(data, occurred_at, f"{event_id}"))
    return items

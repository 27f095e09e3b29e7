"""Plan changes: the plan in force, and the credits that a change grants at once."""

from datetime import datetime

from credit_contracts.incoming import PlanChanged
from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.decision import Outcome
from credit_service.domain.event import Cause, Incoming
from credit_service.domain.first_plan import begins_at, note_of
from credit_service.domain.period import Calendar
from credit_service.domain.plan import Plan

ANCHOR_IGNORED = "billing anchor and time zone are those of the first plan; the new ones are ignored"


def start_account(account: Account, data: PlanChanged, occurred_at: datetime, at: datetime) -> None:
    """Starts the account's calendar with its first plan; the first period contains `at`."""
    anchor_at = data.billing_anchor_at or data.effective_at or occurred_at
    account.start(Calendar(anchor_at, data.time_zone or "UTC"), at)


def change_plan(
    account: Account, incoming: Incoming, data: PlanChanged, cause: Cause, batch: Batch
) -> tuple[Outcome, str | None]:
    """Puts the plan in force, keeps it pending until its `effective_at`, or records it as superseded.

    Returns the outcome and its note. A plan is never backdated: with an `effective_at` in the past it takes effect now.
    A first plan that is older than the rules allow counts from its append time.
    """
    account.require_plans()
    note = None
    at = incoming.occurred_at
    if account.period is None:
        at = begins_at(incoming, batch.now, batch.rules.first_plan_age_months_max)
        start_account(account, data, incoming.occurred_at, at)
        note = note_of(at) if at != incoming.occurred_at else None
    elif account.calendar is not None and (
        data.billing_anchor_at not in (None, account.calendar.anchor_at)
        or data.time_zone not in (None, account.calendar.time_zone)
    ):
        note = ANCHOR_IGNORED
    plan = Plan(
        data.plan_id,
        data.monthly_credits,
        data.seats,
        data.email_accounts,
        data.effective_at or incoming.occurred_at,
        cause,
    )
    is_superseded = _is_superseded(account, plan, at)
    is_for_later = plan.effective_at > at
    # A plan at the instant of a renewal waits for that renewal, which follows, and grants nothing of its own.
    waits = is_for_later or at == account.next_timer_at
    if not is_superseded and not waits:
        plan = plan.completed_by(account.plan)
    account.add_plan(plan)
    if is_superseded:
        return "plan-superseded", note
    if waits:
        account.postpone(plan, at)
    else:
        take_effect(account, plan, at, batch)
    return "plan-pending" if is_for_later else "plan-in-force", note


def take_effect(account: Account, plan: Plan, at: datetime, batch: Batch) -> None:
    """Puts `plan` in force and grants its credits beyond the plan credits granted in this period.

    max(0, allowance - granted): an upgrade grants the difference at once, a downgrade takes nothing away, and switching
    to and fro never grants more than the highest plan of the period.
    """
    was_unlimited = account.unlimited
    account.put_in_force(plan.completed_by(account.plan))
    lines = []
    more = max(0, plan.allowance - account.granted_in_period)
    if more and account.period is not None:
        grant = account.open_grant("plan", more, at, account.period.ends_at, plan.cause)
        lines.append((grant.grant_id, more))
    if lines or was_unlimited != account.unlimited:
        account.record("plan_change", plan.cause, lines, batch, was_unlimited=was_unlimited, occurred_at=at)


def take_effect_at_renewal(account: Account, plan: Plan, at: datetime, batch: Batch) -> None:
    """Puts `plan` in force between the lapse and the allowance of a renewal; it grants nothing of its own."""
    was_unlimited = account.unlimited
    account.put_in_force(plan.completed_by(account.plan))
    if was_unlimited != account.unlimited:
        account.record("plan_change", plan.cause, [], batch, was_unlimited=was_unlimited, occurred_at=at)


def _is_superseded(account: Account, plan: Plan, at: datetime) -> bool:
    """Whether the plan in force, or a pending one that is due, is greater."""
    return any(plan.order < p.order for p in (account.plan, *account.plans_due(at)) if p is not None)

"""Plan changes: which plan is in force, and what a change of it gives at once."""

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
    """The first plan sets the calendar; the first period is the one that contains `at`."""
    anchor_at = data.billing_anchor_at or data.effective_at or occurred_at
    account.start(Calendar(anchor_at, data.time_zone or "UTC"), at)


def change_plan(
    account: Account, incoming: Incoming, data: PlanChanged, cause: Cause, batch: Batch
) -> tuple[Outcome, str | None]:
    """Puts the plan in force, lets it wait for its `effective_at`, or records it as superseded.

    Returns the outcome and what there is to say about it. It never works backwards: a plan with an earlier
    `effective_at` takes effect now. A first plan that is older than the rules allow is taken as of its append time.
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
    # On the very instant of a renewal it waits for that, which comes next, and gives nothing of its own.
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
    """Puts `plan` in force and grants what it gives beyond the plan credits granted in this period.

    max(0, limit - granted): more credits are there at once, fewer take nothing away, and switching to and fro
    never yields more than the highest plan held in the period.
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
    """Puts `plan` in force between the lapse and the allowance; it gives nothing of its own."""
    was_unlimited = account.unlimited
    account.put_in_force(plan.completed_by(account.plan))
    if was_unlimited != account.unlimited:
        account.record("plan_change", plan.cause, [], batch, was_unlimited=was_unlimited, occurred_at=at)


def _is_superseded(account: Account, plan: Plan, at: datetime) -> bool:
    """Whether the plan in force, or one that comes into force at this instant, is greater."""
    return any(plan.order < p.order for p in (account.plan, *account.plans_due(at)) if p is not None)

"""Timers: the renewal of a billing period, the expiry of a grant, the start of a pending plan."""

from collections.abc import Callable
from datetime import datetime

from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.decision import Decision
from credit_service.domain.event import Cause
from credit_service.domain.idempotency import key_of
from credit_service.domain.period import Period
from credit_service.domain.plan import Plan
from credit_service.domain.plan_change import take_effect, take_effect_at_renewal

NO_CONTENT = bytes(16)

Effect = Callable[[Account, Plan, datetime, Batch], None]


def run_timers(account: Account, up_to: datetime, batch: Batch, *, timers_max: int | None = None) -> None:
    """Runs the account's timers up to and including `up_to`, at most `timers_max` instants."""
    fired = 0
    while account.next_timer_at is not None and account.next_timer_at <= up_to:
        if timers_max is not None and fired >= timers_max:
            return
        _fire(account, account.next_timer_at, batch)
        account.reschedule()
        fired += 1


def run_timers_before(account: Account, instant: datetime, batch: Batch) -> None:
    """Runs the account's timers before `instant`, and not those at it."""
    while account.next_timer_at is not None and account.next_timer_at < instant:
        _fire(account, account.next_timer_at, batch)
        account.reschedule()


def _fire(account: Account, at: datetime, batch: Batch) -> None:
    if account.period is None or account.calendar is None:
        return
    if account.plans_unknown_until is not None and at >= account.plans_unknown_until:
        account.require_plans()
    if at == account.period.ends_at:
        _renew(account, account.calendar.period(account.period.number + 1), at, batch)
    else:
        _expire(account, at, batch)
        _settle_pending_plans(account, at, take_effect, batch)


def _renew(account: Account, period: Period, at: datetime, batch: Batch) -> None:
    """Renews the account for `period`: old grants lapse, a plan that is due takes effect, its allowance is granted."""
    cause = _decide_timer(account, "renewal", f"renewal:{_text(at)}", at, batch)
    _lapse(account, cause, batch)
    account.begin_period(period)
    _settle_pending_plans(account, at, take_effect_at_renewal, batch)
    _grant_allowance(account, cause, batch)


def _expire(account: Account, at: datetime, batch: Batch) -> None:
    """Closes the grants that expire within the period."""
    ends = [g.grant_id for g in account.grants.values() if g.expires_at is not None and g.expires_at <= at]
    if ends:
        # A late refund may open a grant that expires at an instant already decided: the instant alone is no key.
        cause = _decide_timer(account, "expiry", f"expiry:{_text(at)}:{min(ends)}", at, batch)
        _lapse(account, cause, batch)


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S.%fZ}"


def _decide_timer(account: Account, kind: str, timer_id: str, at: datetime, batch: Batch) -> Cause:
    decision = Decision(
        account.account_id,
        account.next_position(),
        key_of(SERVICE_SOURCE, timer_id),
        NO_CONTENT,
        SERVICE_SOURCE,
        timer_id,
        kind,
        "renewed" if kind == "renewal" else "expired",
        at,
        batch.now,
        place=None,
    )
    batch.out.decisions.append(decision)
    return Cause(decision.position, decision.source, decision.id, decision.type, at)


def _lapse(account: Account, cause: Cause, batch: Batch) -> None:
    """Closes the grants that expire at the instant; their credits lapse in one balance change."""
    lines = []
    for grant in sorted(account.grants.values(), key=lambda g: g.grant_id):
        if grant.expires_at is None or grant.expires_at > cause.occurred_at:
            continue
        if left := account.close(grant):
            lines.append((grant.grant_id, -left))
    if lines:
        account.record("lapse", cause, lines, batch)


def _settle_pending_plans(account: Account, at: datetime, effect: Effect, batch: Batch) -> None:
    """Applies `effect` with the greatest of the plans that are due; it supersedes the others."""
    due = account.plans_due(at)
    if not due:
        return
    winner = max(due, key=lambda p: p.order)
    if account.plan is None or winner.order > account.plan.order:
        effect(account, winner, at, batch)
    account.settle_plans(due)


def _grant_allowance(account: Account, cause: Cause, batch: Batch) -> None:
    """Grants the plan's allowance until the end of the period that begins."""
    allowance = account.plan.allowance if account.plan else 0
    if allowance == 0 or account.period is None:
        return
    grant = account.open_grant("plan", allowance, cause.occurred_at, account.period.ends_at, cause)
    account.record("renewal", cause, [(grant.grant_id, allowance)], batch)

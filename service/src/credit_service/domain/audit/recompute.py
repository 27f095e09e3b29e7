"""Replays an account's recorded decisions by the same rules, in their order and at their recorded times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby

from credit_contracts.incoming import PlanChanged
from credit_service.domain.account import Account
from credit_service.domain.audit.history import History
from credit_service.domain.audit.steps import ALL_TIMERS, ReplayStep, steps_of
from credit_service.domain.command import Command
from credit_service.domain.decide import decide
from credit_service.domain.decided import Decided
from credit_service.domain.decision import Change, Decision
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.grant import Grant
from credit_service.domain.rules import Rules

SWEEP_INTERVAL = timedelta(seconds=10)
"""By the time of a decision, the timer sweep has run the timers that were due so much before."""


@dataclass(slots=True)
class Recomputed:
    """The result of a replay. From the decision `stopped_at` on, the rules did not follow what is recorded."""

    account: Account
    decisions: dict[int, Decision] = field(default_factory=dict)
    changes: dict[int, Change] = field(default_factory=dict)
    grants: dict[int, Grant] = field(default_factory=dict)
    stopped_at: int | None = None


def recompute(
    history: History, rules: Rules, found: Mapping[int, Incoming] | None = None, *, eagerly: bool = False
) -> Recomputed:
    """Replays the history from its beginning. `found` are the messages of missing decisions, by position.

    The month in which the account began is the recorded one, also where the rules for old first plans have changed. The
    ledger records when a pending plan took effect only if that granted credits, or switched to or from unlimited.
    Otherwise the replay has it take effect with the next event, or `eagerly` as soon as it was due; and always before
    an older plan that is recorded as superseded.
    """
    steps = steps_of(history, rules, found or {})
    return _replay(history, replace(rules, first_plan_age_months_max=0), steps, eager=eagerly)


def _replay(history: History, rules: Rules, steps: Sequence[ReplayStep], *, eager: bool) -> Recomputed:
    account = Account(history.account_id)
    recomputed = Recomputed(account)
    for (decided_at, _), group in groupby(steps, key=_batch_key):
        batch = list(group)
        _run_recorded_timers(history, recomputed, rules, decided_at)
        for item in [step.item for step in batch if _is_recorded_as_superseded(history, step)]:
            _run_plans_due(recomputed, rules, decided_at, item)
        if eager and _only_a_plan_is_due(account, decided_at - SWEEP_INTERVAL):
            _decide(recomputed, [Wake(account.account_id, decided_at - SWEEP_INTERVAL, ALL_TIMERS)], decided_at, rules)
        first = account.position + 1
        of_batch = replace(rules, runs_timers=False) if batch[0].as_it_stands else rules
        expected = {step.key: step.position for step in batch}
        _decide(recomputed, [step.item for step in batch], decided_at, of_batch, expected)
        if recomputed.stopped_at is None and account.position != batch[-1].position:
            present = {step.position for step in batch}
            missing = (position for position in range(first, batch[-1].position) if position not in present)
            recomputed.stopped_at = next(missing, batch[0].position)
        if recomputed.stopped_at is not None:
            return recomputed
    _run_recorded_timers(history, recomputed, rules, None)
    in_force = history.row.plan_position
    for plan in [plan for plan in account.pending if plan.cause.position == in_force]:
        _decide(recomputed, [Wake(account.account_id, plan.effective_at, ALL_TIMERS)], plan.effective_at, rules)
    if account.position < history.row.position:
        recomputed.stopped_at = account.position + 1
    return recomputed


def _batch_key(step: ReplayStep) -> tuple[datetime, int]:
    """Decisions of one instant were one batch; each command was a batch of its own."""
    is_alone = isinstance(step.item, Command) or step.as_it_stands
    return step.decided_at, step.position if is_alone else 0


def _run_recorded_timers(history: History, recomputed: Recomputed, rules: Rules, before: datetime | None) -> None:
    """Runs the timers of pending plans at their recorded times: they leave no decision, but entries with a time."""
    account = recomputed.account
    while (change := history.changes.get(account.sequence + 1)) is not None:
        is_due = account.next_timer_at is not None and account.next_timer_at <= change.occurred_at
        if not is_due or not account.pending or (before is not None and change.recorded_at >= before):
            return
        sequence = account.sequence
        _decide(recomputed, [Wake(account.account_id, change.occurred_at, ALL_TIMERS)], change.recorded_at, rules)
        if account.sequence == sequence:
            return


def _run_plans_due(recomputed: Recomputed, rules: Rules, now: datetime, superseded: Incoming | Wake | Command) -> None:
    """Runs as few timers of pending plans as it takes for `superseded` to be so, and none that is recorded."""
    account, before = recomputed.account, None
    while not _would_be_superseded(account, superseded):
        at = account.next_timer_at
        if at is None or at == before or at > now or not _is_of_plans_alone(account, at):
            return
        _decide(recomputed, [Wake(account.account_id, at, ALL_TIMERS)], now, rules)
        before = at


def _would_be_superseded(account: Account, item: Incoming | Wake | Command) -> bool:
    """Whether a plan in force, or due when `item` occurred, is greater. `item` has no position, which breaks ties."""
    if not isinstance(item, Incoming) or not isinstance(item.data, PlanChanged):
        return True
    order = item.data.effective_at or item.occurred_at, item.occurred_at
    due = account.plans_due(item.occurred_at)
    return any(order < plan.order[:2] for plan in (account.plan, *due) if plan is not None)


def _is_of_plans_alone(account: Account, at: datetime) -> bool:
    is_renewal = account.period is None or account.period.ends_at == at
    return not is_renewal and all(grant.expires_at != at for grant in account.grants.values())


def _is_recorded_as_superseded(history: History, step: ReplayStep) -> bool:
    decision = history.decisions.get(step.position)
    return decision is not None and decision.outcome == "plan-superseded"


def _only_a_plan_is_due(account: Account, at: datetime) -> bool:
    due = [plan.effective_at for plan in account.plans_due(at)]
    if not due or account.next_timer_at != min(due) or account.period is None:
        return False
    ends = [grant.expires_at for grant in account.grants.values() if grant.expires_at is not None]
    return all(end > at for end in [*ends, account.period.ends_at])


def _decide(
    recomputed: Recomputed,
    inputs: Sequence[Incoming | Wake | Command],
    now: datetime,
    rules: Rules,
    expected: Mapping[bytes, int] | None = None,
) -> None:
    """Decides one batch. A decision that misses the position `expected` for its key shows that another is missing."""
    account = recomputed.account
    out = decide({account.account_id: account}, inputs, now, rules)
    for decision in out.decisions:
        if expected is not None and expected.get(decision.key, decision.position) != decision.position:
            recomputed.stopped_at = decision.position
            return
        recomputed.decisions[decision.position] = decision
    recomputed.changes.update((change.sequence, change) for change in out.changes)
    recomputed.grants.update(account.unstored.new_grants)
    _begin_next_batch(account, out)


def _begin_next_batch(account: Account, out: Decided) -> None:
    """Leaves the account as storing and loading it would."""
    account.mark_stored()
    for request in out.requests:
        account.put_request(request)
    for _, charge_sequence in out.requests_overtaken:
        request = account.requests[charge_sequence]
        if request.status == "waiting":
            account.put_request(replace(request, status="overtaken"))

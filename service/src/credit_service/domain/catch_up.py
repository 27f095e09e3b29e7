"""Periods that passed while nothing happened: how many there are, and how many one batch takes on."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.account import Account
from credit_service.domain.command import Command
from credit_service.domain.decide import AHEAD_MAX
from credit_service.domain.decision import EARLIEST, PLAN_CHANGED, Incoming, Wake

TIMERS_PER_BATCH_MAX = 2_000
TIMERS_PER_ACCOUNT_MAX = 60


def early_inputs(
    accounts: Mapping[str, Account], inputs: Iterable[Incoming | Wake | Command], now: datetime
) -> Sequence[Incoming | Wake]:
    """What needs a batch of its own before `inputs`: timers that are too many to come along, and first plans so old
    that they would bring as many. Empty once what is left fits.
    """
    up_to: dict[str, datetime] = {}
    first_plans: dict[str, Incoming] = {}
    latest = now + AHEAD_MAX
    for item in inputs:
        if isinstance(item, Wake):
            continue
        name, at = item.account_id, now if isinstance(item, Command) else item.occurred_at
        if EARLIEST <= at <= latest:
            up_to[name] = max(at, up_to.get(name, at))
            if isinstance(item, Incoming) and name not in first_plans and _is_first_plan(accounts[name], item):
                first_plans[name] = item
    behind = {name: _periods_behind(accounts[name], first_plans.get(name), at) for name, at in up_to.items()}
    if sum(behind.values()) <= TIMERS_PER_BATCH_MAX and max(behind.values(), default=0) <= TIMERS_PER_ACCOUNT_MAX:
        return []
    early: list[Incoming | Wake] = []
    left = TIMERS_PER_BATCH_MAX
    for name, periods in behind.items():
        if name in first_plans:
            # Decided now, it is a duplicate when its own batch comes.
            early += [first_plans[name]] if periods else []
        elif periods and left:
            timers = min(periods, TIMERS_PER_ACCOUNT_MAX, left)
            early.append(Wake(name, up_to[name], timers))
            left -= timers
    return early


def _is_first_plan(account: Account, incoming: Incoming) -> bool:
    if account.has_started or incoming.type != PLAN_CHANGED or incoming.source == SERVICE_SOURCE:
        return False
    return incoming.key not in account.decided and incoming.key not in account.parked_keys


def _periods_behind(account: Account, first_plan: Incoming | None, at: datetime) -> int:
    """How many periods end up to `at`, give or take one; 0 for most accounts at most times.

    Where events still wait, a new one queues behind them, and they bring their own timers about.
    """
    if first_plan is not None:
        return _months(first_plan.occurred_at, at)
    if account.parked or account.next_timer_at is None or account.next_timer_at > at:
        return 0
    return _months(account.next_timer_at, at) + 1


def _months(earlier: datetime, later: datetime) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month

"""Periods that passed while nothing happened: how many there are, and how many one batch takes on."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from credit_service.domain.account import Account
from credit_service.domain.command import Command
from credit_service.domain.decide import AHEAD_MAX
from credit_service.domain.decision import Incoming, Wake

TIMERS_PER_BATCH_MAX = 2_000
TIMERS_PER_ACCOUNT_MAX = 60


def wakes_before(
    accounts: Mapping[str, Account], inputs: Iterable[Incoming | Wake | Command], now: datetime
) -> list[Wake]:
    """The timers that need a batch of their own before `inputs`; empty once what is left fits into theirs."""
    up_to: dict[str, datetime] = {}
    for item in inputs:
        if not isinstance(item, Wake):
            at = now if isinstance(item, Command) else item.occurred_at
            if at <= now + AHEAD_MAX and at > up_to.get(item.account_id, datetime.min.replace(tzinfo=at.tzinfo)):
                up_to[item.account_id] = at
    behind = {name: _periods_behind(accounts[name], at) for name, at in up_to.items()}
    if sum(behind.values()) <= TIMERS_PER_BATCH_MAX and max(behind.values(), default=0) <= TIMERS_PER_ACCOUNT_MAX:
        return []
    wakes = []
    left = TIMERS_PER_BATCH_MAX
    for name, periods in behind.items():
        if periods and left:
            timers = min(periods, TIMERS_PER_ACCOUNT_MAX, left)
            wakes.append(Wake(name, up_to[name], timers))
            left -= timers
    return wakes


def _periods_behind(account: Account, at: datetime) -> int:
    """How many periods end up to `at`, give or take one; 0 for most accounts at most times.

    Where events still wait, a new one queues behind them, and they bring their own timers about.
    """
    if account.parked or account.next_timer_at is None or account.next_timer_at > at:
        return 0
    return (at.year - account.next_timer_at.year) * 12 + at.month - account.next_timer_at.month + 1

"""Divides inputs into transactions, so that none of them runs too many timers of months without events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from credit_service import bounds
from credit_service.domain.account import Account
from credit_service.domain.command import Command
from credit_service.domain.decide import skip_reason
from credit_service.domain.event import AHEAD_MAX, EARLIEST, PLAN_CHANGED, Incoming, Wake
from credit_service.domain.first_plan import AGE_MONTHS_MAX, begins_at

Input: TypeAlias = Incoming | Wake | Command

MOMENT = timedelta(microseconds=1)
"""The smallest step of a time."""


@dataclass(frozen=True, slots=True)
class TimerBounds:
    """How many timers one transaction runs, in all and for one account; both at least 1."""

    of_batch: int = field(default_factory=lambda: bounds.TIMERS_PER_BATCH_MAX)
    of_account: int = field(default_factory=lambda: bounds.TIMERS_PER_ACCOUNT_MAX)


class Portion(NamedTuple):
    """The inputs of one transaction: the first `taken` of the given ones, or wakes that precede them."""

    inputs: Sequence[Input]
    taken: int


def next_portion(
    accounts: Mapping[str, Account],
    inputs: Sequence[Input],
    now: datetime,
    within: TimerBounds | None = None,
    *,
    first_plan_age_months_max: int = AGE_MONTHS_MAX,
) -> Portion:
    """The part of `inputs` that the next transaction decides: all of them, unless they run too many timers.

    If they do, the timers before each account's first input run first, some at a time, in transactions of their own. No
    event of the account can come between them. After that, `inputs` are cut before the one that needs more timers than
    are left. So each timer runs where it would have run if `inputs` were decided one by one.
    """
    within = within or TimerBounds()
    age_max = first_plan_age_months_max
    if _fits_surely(accounts, inputs, now, within, age_max):
        return Portion(inputs, len(inputs))
    return _early_wakes(accounts, inputs, now, within) or _inputs_that_fit(accounts, inputs, now, within, age_max)


def _fits_surely(
    accounts: Mapping[str, Account], inputs: Iterable[Input], now: datetime, within: TimerBounds, age_max: int
) -> bool:
    """Whether few timers are due up to the latest input of each account, as in nearly all batches."""
    up_to: dict[str, datetime] = {}
    first_plans: dict[str, datetime] = {}
    latest = now + AHEAD_MAX
    for item in inputs:
        if isinstance(item, Wake):
            continue
        name, at = item.account_id, now if isinstance(item, Command) else item.occurred_at
        if EARLIEST <= at <= latest:
            if isinstance(item, Incoming) and item.type == PLAN_CHANGED and not accounts[name].has_started:
                at = begins_at(item, now, age_max)
                first_plans[name] = min(at, first_plans.get(name, at))
            up_to[name] = max(at, up_to.get(name, at))
    total = 0
    for name, at in up_to.items():
        account = accounts[name]
        if name in first_plans:
            timers = _months(first_plans[name], max(at, _latest_parked(account, at)))
        else:
            timers = _timers_due(account, at)
        if timers > within.of_account:
            return False
        total += timers
    return total <= within.of_batch


def _early_wakes(
    accounts: Mapping[str, Account], inputs: Iterable[Input], now: datetime, within: TimerBounds
) -> Portion | None:
    """Wakes for the timers before each account's first input; None if the inputs themselves can run those left."""
    due_first: dict[str, tuple[datetime, int]] = {}
    for item in inputs:
        name = item.account_id
        if name not in due_first and (until := _until(accounts[name], item, now)) is not None:
            due_first[name] = until, _timers_due(accounts[name], until)
    counts = [due for _, due in due_first.values()]
    if sum(counts) <= within.of_batch and max(counts, default=0) <= within.of_account:
        return None
    wakes, left = [], within.of_batch
    for name, (until, due) in due_first.items():
        if timers := min(due, within.of_account, left):
            wakes.append(Wake(name, until, timers))
            left -= timers
    return Portion(wakes, 0)


def _inputs_that_fit(
    accounts: Mapping[str, Account], inputs: Sequence[Input], now: datetime, within: TimerBounds, age_max: int
) -> Portion:
    """The inputs before the first one that needs more timers than are left; always at least one."""
    progress = {item.account_id: _Progress(accounts[item.account_id], age_max) for item in inputs}
    left = within.of_batch
    for nth, item in enumerate(inputs):
        of_account = progress[item.account_id]
        timers = of_account.timers_of(item, now)
        if nth and timers and timers > min(left, within.of_account - of_account.timers):
            return Portion(inputs[:nth], nth)
        of_account.timers += timers
        left -= timers
    return Portion(inputs, len(inputs))


class _Progress:
    """How far the previous inputs have brought an account; `timers` counts those that they run."""

    def __init__(self, account: Account, age_max: int) -> None:
        self.timers = 0
        self._account = account
        self._age_max = age_max
        self._has_started = account.has_started
        self._reached: datetime | None = None
        self._latest_parked: datetime | None = None
        self._keys: set[bytes] = set()

    def timers_of(self, item: Input, now: datetime) -> int:
        """The number of timers that `item` runs after all previous inputs."""
        until = _until(self._account, item, now)
        if until is None or isinstance(item, Wake) or item.key in self._keys:
            return 0
        self._keys.add(item.key)
        if not self._has_started:
            if isinstance(item, Incoming) and item.type == PLAN_CHANGED:
                return self._timers_of_first_plan(begins_at(item, now, self._age_max))
            self._latest_parked = max(until, self._latest_parked or until)
            return 0
        if self._account.has_started and self._account.queues_new_events:
            return 0
        timers = _timers_due(self._account, until) if self._reached is None else _months(self._reached, until)
        if timers > 0:
            self._reached = until
        return max(0, timers)

    def _timers_of_first_plan(self, until: datetime) -> int:
        """The number of timers that a first plan at `until` runs, up to the parked events."""
        self._has_started = True
        stored = _latest_parked(self._account, until)
        self._reached = max(until, stored, self._latest_parked or until)
        return _months(until, self._reached)


def _until(account: Account, item: Input, now: datetime) -> datetime | None:
    """The instant up to which `item` runs its account's timers; None if it runs none."""
    if isinstance(item, Wake):
        return None
    if isinstance(item, Command):
        return now
    if skip_reason(account, item, now) is not None:
        return None
    # A plan at the instant of a renewal is part of that renewal.
    return item.occurred_at - MOMENT if item.type == PLAN_CHANGED and account.has_started else item.occurred_at


def _timers_due(account: Account, until: datetime) -> int:
    """About how many timers are due up to `until`: renewals, expiries and pending plans; 0 for most accounts.

    While the account queues new events, they run no timers: the parked ones do.
    """
    if account.queues_new_events or account.next_timer_at is None or account.next_timer_at > until:
        return 0
    ends = {grant.expires_at for grant in account.grants.values()} | {plan.effective_at for plan in account.pending}
    # Grants that expire at the end of the period are part of its renewal.
    renewal = account.period.ends_at if account.period else None
    within = sum(1 for at in ends if at is not None and at <= until and at != renewal)
    return _months(account.next_timer_at, until) + 1 + within


def _latest_parked(account: Account, otherwise: datetime) -> datetime:
    return max((incoming.occurred_at for incoming in account.waiting), default=otherwise)


def _months(earlier: datetime, later: datetime) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month

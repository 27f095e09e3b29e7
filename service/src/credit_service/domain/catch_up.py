"""Turns of months that passed while nothing happened: which come first, and how many one transaction takes on."""

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


@dataclass(frozen=True, slots=True)
class TurnBounds:
    """How many turns one transaction brings about, in all and of one account; both at least 1."""

    of_batch: int = field(default_factory=lambda: bounds.TIMERS_PER_BATCH_MAX)
    of_account: int = field(default_factory=lambda: bounds.TIMERS_PER_ACCOUNT_MAX)


class Portion(NamedTuple):
    """What one transaction decides: `inputs` are the first `taken` of those at hand, or turns that precede them."""

    inputs: Sequence[Input]
    taken: int


def next_portion(
    accounts: Mapping[str, Account],
    inputs: Sequence[Input],
    now: datetime,
    within: TurnBounds | None = None,
    *,
    first_plan_age_months_max: int = AGE_MONTHS_MAX,
) -> Portion:
    """The part of `inputs` that the next transaction decides: all of them, unless they bring too many turns.

    Then the turns that precede an account's first event come first, some at a time, in transactions of their own; an
    account has no event that could come between. After that, `inputs` are cut before the event that lies past more
    turns than are left. So each turn comes where it would have come if `inputs` were decided one by one.
    """
    within = within or TurnBounds()
    age_max = first_plan_age_months_max
    if _surely_fit(accounts, inputs, now, within, age_max):
        return Portion(inputs, len(inputs))
    return _early_turns(accounts, inputs, now, within) or _those_that_fit(accounts, inputs, now, within, age_max)


def _surely_fit(
    accounts: Mapping[str, Account], inputs: Iterable[Input], now: datetime, within: TurnBounds, age_max: int
) -> bool:
    """Whether there are few turns up to the latest input of each account, as there are in nearly all batches."""
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
            turns = _months(first_plans[name], max(at, _latest_waiting(account, at)))
        else:
            turns = _turns_due(account, at)
        if turns > within.of_account:
            return False
        total += turns
    return total <= within.of_batch


def _early_turns(
    accounts: Mapping[str, Account], inputs: Iterable[Input], now: datetime, within: TurnBounds
) -> Portion | None:
    """Turns before the first events of their accounts; None once those that are left come along with the events."""
    behind: dict[str, tuple[datetime, int]] = {}
    for item in inputs:
        name = item.account_id
        if name not in behind and (until := _until(accounts[name], item, now)) is not None:
            behind[name] = until, _turns_due(accounts[name], until)
    turns = [due for _, due in behind.values()]
    if sum(turns) <= within.of_batch and max(turns, default=0) <= within.of_account:
        return None
    wakes, left = [], within.of_batch
    for name, (until, due) in behind.items():
        if timers := min(due, within.of_account, left):
            wakes.append(Wake(name, until, timers))
            left -= timers
    return Portion(wakes, 0)


def _those_that_fit(
    accounts: Mapping[str, Account], inputs: Sequence[Input], now: datetime, within: TurnBounds, age_max: int
) -> Portion:
    """The inputs before the first one that brings more turns than are left; always at least one."""
    progress = {item.account_id: _Progress(accounts[item.account_id], age_max) for item in inputs}
    left = within.of_batch
    for nth, item in enumerate(inputs):
        of_account = progress[item.account_id]
        turns = of_account.turns_of(item, now)
        if nth and turns and turns > min(left, within.of_account - of_account.turns):
            return Portion(inputs[:nth], nth)
        of_account.turns += turns
        left -= turns
    return Portion(inputs, len(inputs))


class _Progress:
    """How far the inputs before have brought an account; `turns` is how many turns that took."""

    def __init__(self, account: Account, age_max: int) -> None:
        self.turns = 0
        self._account = account
        self._age_max = age_max
        self._has_started = account.has_started
        self._reached: datetime | None = None
        self._latest_waiting: datetime | None = None
        self._keys: set[bytes] = set()

    def turns_of(self, item: Input, now: datetime) -> int:
        """The turns that `item` brings about, as the one after all inputs before it."""
        until = _until(self._account, item, now)
        if until is None or isinstance(item, Wake) or item.key in self._keys:
            return 0
        self._keys.add(item.key)
        if not self._has_started:
            if isinstance(item, Incoming) and item.type == PLAN_CHANGED:
                return self._with_the_first_plan(begins_at(item, now, self._age_max))
            self._latest_waiting = max(until, self._latest_waiting or until)
            return 0
        if self._account.has_started and self._account.queues_new_events:
            return 0
        turns = _turns_due(self._account, until) if self._reached is None else _months(self._reached, until)
        if turns > 0:
            self._reached = until
        return max(0, turns)

    def _with_the_first_plan(self, until: datetime) -> int:
        """It brings about the turns up to what waits for it."""
        self._has_started = True
        waiting = _latest_waiting(self._account, until)
        self._reached = max(until, waiting, self._latest_waiting or until)
        return _months(until, self._reached)


def _until(account: Account, item: Input, now: datetime) -> datetime | None:
    """Up to which instant `item` brings about its account's turns; None if it brings none about."""
    if isinstance(item, Wake):
        return None
    if isinstance(item, Command):
        return now
    if skip_reason(account, item, now) is not None:
        return None
    # A plan on a turn's very instant comes into that turn.
    return item.occurred_at - MOMENT if item.type == PLAN_CHANGED and account.has_started else item.occurred_at


def _turns_due(account: Account, until: datetime) -> int:
    """How many turns, expiries and plans for later are due up to `until`, give or take a few; 0 for most accounts.

    Where events still wait, a new one queues behind them, and they bring their own turns about.
    """
    if account.queues_new_events or account.next_timer_at is None or account.next_timer_at > until:
        return 0
    ends = {grant.expires_at for grant in account.grants.values()} | {plan.effective_at for plan in account.pending}
    # What ends with the month is part of its turn.
    turn = account.period.ends_at if account.period else None
    within = sum(1 for at in ends if at is not None and at <= until and at != turn)
    return _months(account.next_timer_at, until) + 1 + within


def _latest_waiting(account: Account, otherwise: datetime) -> datetime:
    return max((incoming.occurred_at for incoming in account.waiting), default=otherwise)


def _months(earlier: datetime, later: datetime) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month

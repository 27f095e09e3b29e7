"""Plans and parked events are loaded only for accounts whose inputs may need them; results do not change."""

from collections.abc import Iterable, Sequence

from credit_service.domain.account import Account
from credit_service.domain.command import Adjust, Command, DecideRefund
from credit_service.domain.event import PLAN_CHANGED, Incoming, Wake


def accounts_needing_parked(accounts: Iterable[Account], inputs: Sequence[Incoming | Wake | Command]) -> list[Account]:
    """The accounts whose parked events `inputs` may unpark: by a first plan, a wake, or an order that comes after them.

    The other accounts with parked events are marked: these are not loaded. An event that only queues behind them needs
    no more than its own key and their count.
    """
    plans = {item.account_id for item in inputs if isinstance(item, Incoming) and item.type == PLAN_CHANGED}
    others = {item.account_id for item in inputs if _unparks(item)}
    needing = []
    for account in accounts:
        if not account.parked:
            continue
        may_unpark = account.account_id in others or (account.account_id in plans and not account.has_started)
        if may_unpark and account.opening_since is None:
            needing.append(account)
        else:
            account.waiting_is_unknown = True
    return needing


def _unparks(item: Incoming | Wake | Command) -> bool:
    return isinstance(item, Wake) or (isinstance(item, Command) and isinstance(item.data, DecideRefund | Adjust))


def accounts_needing_plans(accounts: Iterable[Account], inputs: Sequence[Incoming | Wake | Command]) -> list[Account]:
    """The accounts whose plans `inputs` may need: a plan changes, a timer is due, or parked events may do either.

    The other started accounts note the instant of their next timer, until which their plans have no effect.
    """
    latest = max((item.occurred_at for item in inputs if isinstance(item, Incoming)), default=None)
    named = {item.account_id for item in inputs if not isinstance(item, Incoming) or item.type == PLAN_CHANGED}
    needing = []
    for account in accounts:
        due_at = account.next_timer_at
        is_due = due_at is None or (latest is not None and due_at <= latest)
        if is_due or account.waiting or account.account_id in named:
            needing.append(account)
        else:
            account.plans_unknown_until = due_at
    return needing

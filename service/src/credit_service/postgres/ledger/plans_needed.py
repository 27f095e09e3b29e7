"""What a batch may ask of its accounts beyond their rows: what nobody asks for need not be read."""

from collections.abc import Iterable, Sequence

from credit_service.domain.account import Account
from credit_service.domain.command import Adjust, Command, DecideRefund
from credit_service.domain.event import PLAN_CHANGED, Incoming, Wake


def accounts_needing_parked(accounts: Iterable[Account], inputs: Sequence[Incoming | Wake | Command]) -> list[Account]:
    """The accounts whose parked events `inputs` may let in: with a first plan, a wake, or an order that they precede.

    The others of `accounts` with parked events are told that these are not known. What only queues behind them asks for
    no more than its own key, and how many there are.
    """
    plans = {item.account_id for item in inputs if isinstance(item, Incoming) and item.type == PLAN_CHANGED}
    others = {item.account_id for item in inputs if _lets_in(item)}
    matter = []
    for account in accounts:
        if not account.parked:
            continue
        may_let_in = account.account_id in others or (account.account_id in plans and not account.has_started)
        if may_let_in and account.opening_since is None:
            matter.append(account)
        else:
            account.waiting_is_unknown = True
    return matter


def _lets_in(item: Incoming | Wake | Command) -> bool:
    return isinstance(item, Wake) or (isinstance(item, Command) and isinstance(item.data, DecideRefund | Adjust))


def accounts_needing_plans(accounts: Iterable[Account], inputs: Sequence[Incoming | Wake | Command]) -> list[Account]:
    """The accounts whose plans `inputs` may ask for: they change, a timer is due, or events wait that may do either.

    The others of `accounts` that have started are told until when nothing comes of their plans.
    """
    latest = max((item.occurred_at for item in inputs if isinstance(item, Incoming)), default=None)
    named = {item.account_id for item in inputs if not isinstance(item, Incoming) or item.type == PLAN_CHANGED}
    matter = []
    for account in accounts:
        due_at = account.next_timer_at
        is_due = due_at is None or (latest is not None and due_at <= latest)
        if is_due or account.waiting or account.account_id in named:
            matter.append(account)
        else:
            account.plans_unknown_until = due_at
    return matter

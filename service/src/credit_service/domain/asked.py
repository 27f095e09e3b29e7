"""What a batch may ask of its accounts beyond their rows: what nobody asks for need not be read."""

from collections.abc import Iterable, Sequence

from credit_service.domain.account import Account
from credit_service.domain.command import Command
from credit_service.domain.decision import PLAN_CHANGED, Incoming, Wake


def whose_plans_matter(accounts: Iterable[Account], inputs: Sequence[Incoming | Wake | Command]) -> list[Account]:
    """The accounts whose plans `inputs` may ask for: they change, a timer is due, or events wait that may do either.

    The others of `accounts` that have started are told until when nothing comes of their plans.
    """
    latest = max((item.occurred_at for item in inputs if isinstance(item, Incoming)), default=None)
    named = {item.account_id for item in inputs if not isinstance(item, Incoming) or item.type == PLAN_CHANGED}
    matter = []
    for account in accounts:
        due_at = account.next_timer_at
        if due_at is None or account.parked or account.account_id in named or (latest is not None and due_at <= latest):
            matter.append(account)
        else:
            account.plans_unknown_until = due_at
    return matter

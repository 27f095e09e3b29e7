"""What comes before commands: events that wait, and turns of months, where the commands have an effect."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from credit_service.domain.account import Account
from credit_service.domain.catch_up import Portion, TurnBounds, next_portion
from credit_service.domain.command import Adjust, Command, DecideRefund
from credit_service.domain.decide import refuse
from credit_service.domain.event import EARLIEST, Wake
from credit_service.domain.room import is_full


def portion_of_commands(
    accounts: Mapping[str, Account], commands: Sequence[Command], now: datetime, within: TurnBounds | None = None
) -> Portion:
    """All of `commands`, or what precedes them and is too much to come along: that has transactions of its own.

    Commands are never cut: they are all of one instant, so that no turn lies between two of an account. One that is
    known to have no effect has nothing precede it.
    """
    effective = [command for command in commands if _may_have_effect(accounts[command.account_id], command, now)]
    orders = {command.account_id for command in effective if isinstance(command.data, DecideRefund | Adjust)}
    if behind := [name for name in sorted(orders) if _lets_in_some_only(accounts[name])]:
        return Portion([Wake(name, EARLIEST, 0) for name in behind], 0)
    if effective:
        before = next_portion(accounts, effective, now, within)
        if before.taken == 0:
            return before
    return Portion(commands, len(commands))


def _lets_in_some_only(account: Account) -> bool:
    return account.can_unpark and account.waiting_until is not None


def _may_have_effect(account: Account, command: Command, now: datetime) -> bool:
    """Whether it was not given before, and is not refused; what is adjusted is known behind all that precedes it."""
    if command.key in account.decided or is_full(account):
        return False
    is_known_later = isinstance(command.data, Adjust) and account.opening_since is None
    return is_known_later or refuse(account, command, now) is None

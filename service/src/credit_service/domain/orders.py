"""Chooses the inputs that precede commands: parked events, and timers that are due."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from credit_service.domain.account import Account
from credit_service.domain.catch_up import Portion, TimerBounds, next_portion
from credit_service.domain.command import Adjust, Command, DecideRefund
from credit_service.domain.decide import refuse
from credit_service.domain.event import EARLIEST, Wake
from credit_service.domain.room import is_full


def portion_of_commands(
    accounts: Mapping[str, Account], commands: Sequence[Command], now: datetime, within: TimerBounds | None = None
) -> Portion:
    """All of `commands`, or the wakes that precede them, if these are too many for the same transaction.

    Commands are never split: all have the same time, so that no renewal lies between two of an account. Nothing needs
    to precede a command that is known to have no effect.
    """
    effective = [command for command in commands if _may_have_effect(accounts[command.account_id], command, now)]
    ordered = {command.account_id for command in effective if isinstance(command.data, DecideRefund | Adjust)}
    if behind := [name for name in sorted(ordered) if _unparks_only_some(accounts[name])]:
        return Portion([Wake(name, EARLIEST, 0) for name in behind], 0)
    if effective:
        before = next_portion(accounts, effective, now, within)
        if before.taken == 0:
            return before
    return Portion(commands, len(commands))


def _unparks_only_some(account: Account) -> bool:
    return account.can_unpark and account.waiting_until is not None


def _may_have_effect(account: Account, command: Command, now: datetime) -> bool:
    """Whether the command is new and not refused; an adjustment can be judged only after the inputs that precede it."""
    if command.key in account.decided or is_full(account):
        return False
    is_known_later = isinstance(command.data, Adjust) and account.opening_since is None
    return is_known_later or refuse(account, command, now) is None

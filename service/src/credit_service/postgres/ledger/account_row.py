"""The row of an account, read and written in one order of columns."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from credit_service.domain.account import Account
from credit_service.domain.period import Calendar, Period

Row: TypeAlias = tuple[Any, ...]

HOT_COLUMNS = slice(1, 4)
"""Balance, sequence and position, which almost every batch changes. The columns after them seldom change."""
COLD_COLUMNS = slice(4, None)


def from_row(account_id: str, row: Sequence[Any]) -> Account:
    """The account of a row of `lock_accounts`, without the id."""
    _, balance, sequence, position, unlimited, last_grant_id, plan_position, *rest = row
    anchor_at, time_zone, number, starts_at, ends_at, granted, declined, parked, next_timer_at, opening_since = rest
    account = Account(
        account_id,
        balance,
        unlimited,
        sequence,
        position,
        last_grant_id,
        plan_position,
        granted_in_period=granted,
        declined_in_period=declined,
        parked=parked,
        next_timer_at=next_timer_at,
        opening_since=opening_since,
    )
    if number is not None:
        account.calendar = Calendar(anchor_at, time_zone)
        account.period = Period(number, starts_at, ends_at)
    return account


def to_row(number: int, a: Account) -> Row:
    """The row of the account, to be written."""
    calendar = (a.calendar.anchor_at, a.calendar.time_zone) if a.calendar else (None, None)
    period = (a.period.number, a.period.starts_at, a.period.ends_at) if a.period else (None, None, None)
    return (
        number,
        a.balance,
        a.sequence,
        a.position,
        a.unlimited,
        a.last_grant_id,
        a.plan_position,
        *calendar,
        *period,
        a.granted_in_period,
        a.declined_in_period,
        a.parked,
        a.next_timer_at,
        a.opening_since,
    )

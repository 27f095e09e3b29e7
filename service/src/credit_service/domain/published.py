"""Outgoing events: each follows from a change or a decision alone, so that it can be built again."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from credit_contracts.outgoing import balance_changed_id, insufficient_credits_id
from credit_contracts.times import format_time
from credit_service.domain.decision import Change, Decision

REQUIRED = 1
"""Every charge is of one credit."""

Json: TypeAlias = "str | int | bool | dict[str, Json] | None"

# All changes of a batch have one recorded time, and periods have few ends.
_text = lru_cache(maxsize=4_096)(format_time)


@dataclass(slots=True)
class Published:
    """One outgoing event. `data` has the JSON fields of the contract's model, in its order.

    The model does not validate it: that would take longer than deciding the event.
    """

    type: str
    id: str
    account_id: str
    time: datetime
    data: dict[str, Json]


def balance_changed(change: Change) -> Published:
    """The `balance-changed` event of one change."""
    cause, balance = change.cause, change.balance
    data: dict[str, Json] = {
        "account_id": change.account_id,
        "sequence": change.sequence,
        "previous_balance": change.previous_balance,
        "balance": balance,
        "delta": change.delta,
        "reason": change.reason,
        "cause": {"source": cause.source, "id": cause.id, "type": cause.type},
        "prospect_id": cause.prospect_id,
        "unlimited": balance is None,
        "period_ends_at": _text(change.period_ends_at) if change.period_ends_at else None,
        "occurred_at": format_time(change.occurred_at),
        "recorded_at": _text(change.recorded_at),
    }
    event_id = balance_changed_id(change.account_id, change.sequence)
    return Published("balance-changed", event_id, change.account_id, change.recorded_at, data)


def insufficient_credits(decline: Decision) -> Published:
    """The `insufficient-credits` event of one decline.

    A charge is declined only if no grant has a credit left, so that `available` is 0.
    """
    data: dict[str, Json] = {
        "account_id": decline.account_id,
        "required": REQUIRED,
        "available": 0,
        "shortfall": REQUIRED,
        "cause": {"source": decline.source, "id": decline.id, "type": decline.type},
        "prospect_id": decline.prospect_id,
        "declined_in_period": decline.declined_in_period,
        "period_ends_at": _text(decline.period_ends_at) if decline.period_ends_at else None,
        "occurred_at": format_time(decline.occurred_at),
        "recorded_at": _text(decline.decided_at),
    }
    event_id = insufficient_credits_id(decline.account_id, decline.position)
    return Published("insufficient-credits", event_id, decline.account_id, decline.decided_at, data)

"""What others are told: outgoing events follow from a change or a decision alone, so they can be built again."""

from credit_contracts.envelope import Event
from credit_contracts.outgoing import SERVICE_SOURCE, BalanceChanged, InsufficientCredits
from credit_contracts.outgoing import Cause as PublishedCause
from credit_service.domain.decision import Change, Decision

REQUIRED = 1
"""Every charge is of one credit."""


def balance_changed(change: Change) -> Event[BalanceChanged]:
    """The `balance-changed` event of one change, with the id `account:sequence`."""
    cause = change.cause
    data = BalanceChanged(
        account_id=change.account_id,
        sequence=change.sequence,
        previous_balance=change.previous_balance,
        balance=change.balance,
        delta=change.delta,
        reason=change.reason,
        cause=PublishedCause(source=cause.source, id=cause.id, type=cause.type),
        prospect_id=cause.prospect_id,
        unlimited=change.balance is None,
        period_ends_at=change.period_ends_at,
        occurred_at=change.occurred_at,
        recorded_at=change.recorded_at,
    )
    return Event(SERVICE_SOURCE, f"{change.account_id}:{change.sequence}", "balance-changed", change.recorded_at, data)


def insufficient_credits(decline: Decision) -> Event[InsufficientCredits]:
    """The `insufficient-credits` event of one decline, with the id `account:d:position`.

    A charge is declined only when no grant has a credit left, so what is available is none.
    """
    data = InsufficientCredits(
        account_id=decline.account_id,
        required=REQUIRED,
        available=0,
        shortfall=REQUIRED,
        cause=PublishedCause(source=decline.source, id=decline.id, type=decline.type),
        prospect_id=decline.prospect_id,
        declined_in_period=decline.declined_in_period or 0,
        period_ends_at=decline.period_ends_at,
        occurred_at=decline.occurred_at,
        recorded_at=decline.decided_at,
    )
    return Event(
        SERVICE_SOURCE,
        f"{decline.account_id}:d:{decline.position}",
        "insufficient-credits",
        decline.decided_at,
        data,
    )

"""An example of every answer and parameter, for the OpenAPI document."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from credit_contracts.outgoing import Cause
from credit_service.application.queries import (
    AccountSnapshot,
    CurrentPeriod,
    DecidedEvent,
    EntriesPage,
    Entry,
    OpenGrant,
    ParkedEvent,
    PlanInForce,
    ReadPlace,
)

_NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
_MONTH_END = datetime(2026, 4, 10, 12, tzinfo=UTC)
_CHARGED_AT = datetime(2026, 3, 10, 12, 1, tzinfo=UTC)
_EVENT: dict[str, Any] = {
    "account_id": "acme",
    "source": "/campaigns",
    "id": "e-2",
    "type": "prospect-generated",
    "occurred_at": _CHARGED_AT,
    "place": ReadPlace(topic="prospect-generated", partition=3, offset=41),
}
ANSWERS: Mapping[str, Mapping[str, BaseModel]] = {
    "readAccount": {
        "account": AccountSnapshot(
            account_id="acme",
            balance=499,
            unlimited=False,
            sequence=2,
            plan=PlanInForce(plan_id="pro", monthly_credits=500, seats=3, email_accounts=None),
            period=CurrentPeriod(starts_at=_NOON, ends_at=_MONTH_END),
            grants=[
                OpenGrant(
                    grant_id=1, origin="plan", amount=500, remaining=499, effective_at=_NOON, expires_at=_MONTH_END
                )
            ],
            declined_in_period=0,
        )
    },
    "readEntries": {
        "entries": EntriesPage(
            account_id="acme",
            entries=[
                Entry(
                    sequence=2,
                    line=0,
                    grant_id=1,
                    amount=-1,
                    previous_balance=500,
                    balance=499,
                    reason="charge",
                    cause=Cause(source="/campaigns", id="e-2", type="prospect-generated"),
                    prospect_id="p-1",
                    refunds_sequence=None,
                    period_ends_at=_MONTH_END,
                    occurred_at=_CHARGED_AT,
                    recorded_at=_CHARGED_AT,
                )
            ],
            next_after=None,
        )
    },
    "readDecision": {
        "decided": DecidedEvent(
            **_EVENT,
            outcome="charged",
            position=2,
            decided_at=_CHARGED_AT,
            prospect_id="p-1",
            declined_in_period=None,
            note=None,
        ),
        "parked": ParkedEvent(**_EVENT, parked_at=_CHARGED_AT),
    },
}
PARAMETERS: Mapping[str, str | int] = {
    "account_id": "acme",
    "after": 0,
    "limit": 100,
    "source": "/campaigns",
    "id": "e-2",
}

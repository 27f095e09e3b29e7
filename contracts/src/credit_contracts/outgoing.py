"""The data of outgoing events, one model for each topic."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from credit_contracts.ids import AccountId, EventId, EventSource, ProspectId
from credit_contracts.naming import topic_name
from credit_contracts.times import Instant

SERVICE_SOURCE: Final = "/credit-service"

Reason = Literal["charge", "refund", "renewal", "plan_change", "purchase", "lapse", "adjustment", "opening"]


class Outgoing(BaseModel):
    """The base of all outgoing data: strict types; fields of later versions are ignored."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        hide_input_in_errors=True,
        json_schema_serialization_defaults_required=True,
    )


class Cause(Outgoing):
    """The event that brought a change about: another service's, or one of the credit service's own."""

    source: EventSource
    id: EventId
    type: Annotated[
        EventSource,
        Field(description="The cause's ce_type, or renewal, expiry, opening, adjustment, refund-approved, …"),
    ]


class BalanceChanged(Outgoing):
    """The credits of an account changed; `sequence` has neither gaps nor repeats within an account."""

    account_id: AccountId
    sequence: Annotated[int, Field(ge=1, description="Gapless per account, from 1.")]
    previous_balance: Annotated[int | None, Field(ge=0, description="Null if unlimited before.")]
    balance: Annotated[int | None, Field(ge=0, description="Null if unlimited.")]
    delta: Annotated[int, Field(description="The change of what the account's grants hold.")]
    reason: Reason
    cause: Cause
    prospect_id: ProspectId | None = None
    unlimited: bool
    period_ends_at: Annotated[Instant | None, Field(description="When the current billing period ends.")]
    occurred_at: Annotated[Instant, Field(description="When the cause happened.")]
    recorded_at: Annotated[Instant, Field(description="When the credit service decided it.")]


class InsufficientCredits(Outgoing):
    """A charge was declined, for good: a new attempt takes a new event id."""

    account_id: AccountId
    required: Annotated[int, Field(ge=1, description="Credits the charge needed.")]
    available: Annotated[int, Field(ge=0, description="Credits there were.")]
    shortfall: Annotated[int, Field(ge=1, description="Credits that were missing.")]
    cause: Cause
    prospect_id: ProspectId | None = None
    declined_in_period: Annotated[int, Field(ge=1, description="Declines in this period, with this one.")]
    period_ends_at: Annotated[Instant | None, Field(description="When the current billing period ends.")]
    occurred_at: Annotated[Instant, Field(description="When the declined charge happened.")]
    recorded_at: Annotated[Instant, Field(description="When the credit service decided it.")]


OutgoingData: TypeAlias = BalanceChanged | InsufficientCredits
OUTGOING: Final[Mapping[str, type[OutgoingData]]] = {topic_name(model): model for model in get_args(OutgoingData)}


def balance_changed_id(account_id: str, sequence: int) -> str:
    """Return the `ce_id` of a balance change."""
    return f"{account_id}:{sequence}"


def insufficient_credits_id(account_id: str, position: int) -> str:
    """Return the `ce_id` of a decline, numbered by its decision's position."""
    return f"{account_id}:d:{position}"


def declined_position(event_id: str) -> int:
    """Return the position in the `ce_id` of a decline; raises ValueError if it is none."""
    before, _, position = event_id.rpartition(":d:")
    if not before or not position.isdecimal():
        raise ValueError("id: not that of a decline")
    return int(position)

"""The data of incoming events, one model for each topic."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, ClassVar, Final, Literal, TypeAlias, get_args
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from credit_contracts.ids import AccountId, CampaignId, PlanId, ProspectId, PurchaseId
from credit_contracts.naming import topic_name
from credit_contracts.times import Instant

AMOUNT_MAX: Final = 10**9
PLAN_YEARS_MAX: Final = 5
ANCHOR_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)

STAGE_CHARACTERS_MAX: Final = 128
WRONG_EMAIL: Final = "wrong-email"

Amount: TypeAlias = Annotated[int, Field(ge=0, le=AMOUNT_MAX)]
BounceType = Literal["hard", "soft"]


@cache
def _time_zones() -> frozenset[str]:
    # A set of names, so that no file is opened by a name from outside; the two excluded names depend on the machine.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _known_time_zone(name: str) -> str:
    if name not in _time_zones():
        raise PydanticCustomError("time_zone_unknown", "not a time zone of the IANA database")
    return name


TimeZone: TypeAlias = Annotated[str, AfterValidator(_known_time_zone)]


class Incoming(BaseModel):
    """The base of all incoming data: strict types, unknown fields ignored, no values in errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)

    producers: ClassVar[tuple[str, ...]]

    account_id: AccountId


class ProspectGenerated(Incoming):
    """A prospect was generated from the vendor's database onto an account."""

    producers = ("campaigns",)

    prospect_id: ProspectId
    campaign_id: CampaignId | None = None


class ProspectExported(Incoming):
    """A prospect was exported; it is on the account from then on."""

    producers = ("campaigns",)

    prospect_id: ProspectId


class EmailBounced(Incoming):
    """An e-mail to a prospect bounced; a soft bounce refunds nothing."""

    producers = ("mailer",)

    prospect_id: ProspectId
    bounce_type: Annotated[
        BounceType,
        BeforeValidator(lambda given: "hard" if given is None else given, json_schema_input_type=BounceType | None),
    ] = "hard"


class PlanChanged(Incoming):
    """An account's plan changed, or its first plan began."""

    producers = ("billing",)

    plan_id: PlanId
    monthly_credits: Annotated[Amount | None, Field(description="Credits a month; null is unlimited.")]
    seats: Annotated[Amount | None, Field(description="Unchanged when absent.")] = None
    email_accounts: Annotated[Amount | None, Field(description="Unchanged when absent.")] = None
    effective_at: Annotated[
        Instant | None, Field(description="When it takes effect; the event's time when absent.")
    ] = None
    billing_anchor_at: Annotated[
        Instant | None, Field(description="Where billing months begin; set by the first plan only.")
    ] = None
    time_zone: Annotated[
        TimeZone | None, Field(description="IANA name, UTC when absent; set by the first plan only.")
    ] = None

    @field_validator("effective_at", "billing_anchor_at")
    @classmethod
    def _near_the_event(cls, moment: datetime | None, info: ValidationInfo) -> datetime | None:
        """Compare with the event's time, which the codec passes as the context; without a context, accept any time.

        Billing months may have begun at any time since 1970.
        """
        if moment is not None and isinstance(info.context, datetime):
            if info.field_name == "billing_anchor_at" and ANCHOR_EARLIEST <= moment <= info.context:
                return moment
            earlier, later = sorted((moment, info.context))
            # Calendar fields are compared: they do not overflow, and 29 February is no special case.
            if (later.year - PLAN_YEARS_MAX, later.month, later.day, later.time()) > (
                earlier.year,
                earlier.month,
                earlier.day,
                earlier.time(),
            ):
                raise PydanticCustomError("time_too_far_from_event", "more than 5 years from the event's time")
        return moment


class CreditsPurchased(Incoming):
    """Credits were bought once, beside those of the plan."""

    producers = ("billing",)

    purchase_id: PurchaseId
    credits: Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
    expires_at: Annotated[Instant | None, Field(description="After the event's time; never when absent.")] = None

    @field_validator("expires_at")
    @classmethod
    def _after_the_event(cls, moment: datetime | None, info: ValidationInfo) -> datetime | None:
        """Compare with the event's time, which the codec passes as the context; without a context, accept any time."""
        if moment is not None and isinstance(info.context, datetime) and moment <= info.context:
            raise PydanticCustomError("expiry_not_after_start", "not after the event's time")
        return moment


class ProspectImported(Incoming):
    """A prospect came from the customer's own database; it is on the account and costs nothing."""

    producers = ("campaigns",)

    prospect_id: ProspectId


class ProspectTransferred(Incoming):
    """A prospect was moved between campaigns of its account; it costs nothing."""

    producers = ("campaigns",)

    prospect_id: ProspectId
    from_campaign_id: CampaignId | None = None
    to_campaign_id: CampaignId | None = None


class ProspectStageChanged(Incoming):
    """A prospect's stage was set; `wrong-email` asks for a refund, other stages mean nothing here."""

    producers = ("campaigns",)

    prospect_id: ProspectId
    stage: Annotated[str, Field(min_length=1, max_length=STAGE_CHARACTERS_MAX)]


class ProspectDeleted(Incoming):
    """A prospect was deleted from its account; bringing it on again costs again."""

    producers = ("campaigns",)

    prospect_id: ProspectId


IncomingData: TypeAlias = (
    ProspectGenerated
    | ProspectExported
    | EmailBounced
    | PlanChanged
    | CreditsPurchased
    | ProspectImported
    | ProspectTransferred
    | ProspectStageChanged
    | ProspectDeleted
)
INCOMING: Final[Mapping[str, type[IncomingData]]] = {topic_name(model): model for model in get_args(IncomingData)}

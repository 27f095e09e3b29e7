"""The rules that a deployment may choose."""

from dataclasses import dataclass, field
from typing import Literal

from credit_service import bounds
from credit_service.domain.first_plan import AGE_MONTHS_MAX


@dataclass(frozen=True, slots=True)
class LateRefund:
    """Where a refund goes when its grant has expired.

    `current-period`: to a grant that expires with the period; `days`: to one that expires after `days`, at the end of
    the day in the account's own time zone; `forfeit`: nowhere.
    """

    kind: Literal["current-period", "days", "forfeit"] = "current-period"
    days: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices of a deployment. `unparked_max`: how many parked events of an account one batch decides.

    `first_plan_age_months_max`: the maximum age, at its append time, of a first plan's event whose month is the first.
    Without `runs_timers`, inputs run no timers: no month is renewed, and no grant expires, before they are decided.
    """

    late_refund: LateRefund = field(default_factory=LateRefund)
    unparked_max: int = field(default_factory=lambda: bounds.UNPARKED_PER_ACCOUNT_MAX)
    first_plan_age_months_max: int = AGE_MONTHS_MAX
    runs_timers: bool = True

"""The rules that a deployment may choose."""

from dataclasses import dataclass, field
from typing import Literal

from credit_service import bounds
from credit_service.domain.first_plan import AGE_MONTHS_MAX


@dataclass(frozen=True, slots=True)
class LateRefund:
    """Where a refund goes when its grant has expired.

    `current-period`: a grant that ends with the period; `days`: one that lives for `days`, and to the end of the last
    one in the account's own time zone; `forfeit`: nowhere.
    """

    kind: Literal["current-period", "days", "forfeit"] = "current-period"
    days: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices of a deployment. `unparked_max`: parked events that one batch decides for one account.

    `first_plan_age_months_max`: how old a first plan's event may be when it is appended, for its month to be the first.
    Without `turns` a command is decided without running the account's due timers first: no month turns, and nothing
    expires before it.
    """

    late_refund: LateRefund = field(default_factory=LateRefund)
    unparked_max: int = field(default_factory=lambda: bounds.UNPARKED_PER_ACCOUNT_MAX)
    first_plan_age_months_max: int = AGE_MONTHS_MAX
    turns: bool = True

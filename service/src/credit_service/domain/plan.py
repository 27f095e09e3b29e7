"""Plans: what an account is granted each period, and which of two is the greater."""

from dataclasses import dataclass
from datetime import datetime

from credit_service.domain.decision import Cause


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as one event brought it. `monthly_credits` None is unlimited, 0 is cancelled."""

    plan_id: str
    monthly_credits: int | None
    seats: int | None
    email_accounts: int | None
    effective_at: datetime
    cause: Cause

    @property
    def order(self) -> tuple[datetime, datetime, int]:
        """The greater wins: (effective_at, time of the event, arrival)."""
        return (self.effective_at, self.cause.occurred_at, self.cause.position)

    @property
    def allowance(self) -> int:
        """The credits it grants each period; none where no grant is needed."""
        return self.monthly_credits or 0

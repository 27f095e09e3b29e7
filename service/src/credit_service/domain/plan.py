"""Plans: the credits of each period, and which of two plans wins."""

from dataclasses import dataclass, replace
from datetime import datetime

from credit_service.domain.event import Cause


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of one event. `monthly_credits` None is unlimited, 0 is cancelled.

    `seats` and `email_accounts` None: as in the plan that was in force before it.
    """

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
        """The credits that it grants each period; 0 for an unlimited plan, which needs no grant."""
        return self.monthly_credits or 0

    def completed_by(self, before: "Plan | None") -> "Plan":
        """The plan, with the fields that it leaves out taken from the plan in force before it."""
        if before is None:
            return self
        return replace(
            self,
            seats=before.seats if self.seats is None else self.seats,
            email_accounts=before.email_accounts if self.email_accounts is None else self.email_accounts,
        )

"""What an account knows of one prospect."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from credit_service.domain.decision import Cause

ProspectOrigin = Literal["generated", "exported", "imported"]


@dataclass(slots=True)
class Prospect:
    """A prospect on the account, or one of which only a bounce is known (`origin` None).

    A charge is alive once `charge_sequence` is set; `charge_grant_id` None then means that it was made on an
    unlimited plan. `bounce` is the first bounce that found no charge.
    """

    prospect_id: str
    origin: ProspectOrigin | None = None
    charge_sequence: int | None = None
    charge_grant_id: int | None = None
    refund_sequence: int | None = None
    bounce: Cause | None = None
    deleted_at: datetime | None = None

    @property
    def on_account(self) -> bool:
        """Whether bringing it on again is free."""
        return self.origin is not None and self.deleted_at is None

    @property
    def charge_alive(self) -> bool:
        """Whether there is a charge that was not refunded."""
        return self.charge_sequence is not None and self.refund_sequence is None

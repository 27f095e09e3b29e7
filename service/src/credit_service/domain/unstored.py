"""The rows of one account that the next store has to write."""

from dataclasses import dataclass, field

from credit_service.domain.grant import Grant
from credit_service.domain.plan import Plan


@dataclass(slots=True)
class Unstored:
    """What changed in an account since it was loaded. Only `Account` writes to it; the store reads it.

    `changed_grants` may contain new grants as well. `changed_prospects` are ids. `settled_plans` are plans that were
    pending before: in force now, or superseded. `new_purchases` are the positions of their decisions, by purchase id.
    """

    new_grants: dict[int, Grant] = field(default_factory=dict)
    changed_grants: dict[int, Grant] = field(default_factory=dict)
    changed_prospects: set[str] = field(default_factory=set)
    new_plans: tuple[Plan, ...] = ()
    settled_plans: tuple[Plan, ...] = ()
    new_purchases: dict[str, int] = field(default_factory=dict)

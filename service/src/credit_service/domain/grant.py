"""Grants: blocks of credits with an origin and an expiry, and the order in which they burn."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Origin = Literal["plan", "purchase", "refund", "adjustment", "opening"]

NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Grant:
    """A block of credits; `remaining` stays between 0 and `amount`. `expires_at` None: it never expires."""

    grant_id: int
    origin: Origin
    amount: int
    remaining: int
    effective_at: datetime
    expires_at: datetime | None
    position: int
    is_open: bool = True


def first_to_burn(grants: Iterable[Grant]) -> Grant | None:
    """The open grant that the next charge takes from: soonest expiry, then oldest; None if all are empty."""
    first = None
    for grant in grants:
        if grant.remaining > 0 and (first is None or burn_order(grant) < burn_order(first)):
            first = grant
    return first


def burn_order(grant: Grant) -> tuple[bool, datetime, datetime, int]:
    """The sort key of burning, lowest first. A grant that never expires burns last."""
    expires_at = grant.expires_at
    return (expires_at is None, expires_at or NEVER, grant.effective_at, grant.grant_id)

"""The month in which an account begins: that of its first plan's event, unless the event is too old."""

from datetime import UTC, datetime

from credit_contracts.incoming import PlanChanged
from credit_service.domain.event import Incoming
from credit_service.domain.period import Calendar

AGE_MONTHS_MAX = 24
"""The default maximum age, at its append time, of a first plan's event whose month is the account's first."""

_NOTE = "the event is older than a first plan may be; the account begins in the month of its append time, "


def begins_at(incoming: Incoming, now: datetime, age_months_max: int) -> datetime:
    """The instant in whose month an account begins, if `incoming` is its first plan.

    That is the time of the event. If it is more than `age_months_max` months before the append time, it is the append
    time, so that no old event renews hundreds of months. The database's clock replaces an append time that is unknown
    or ahead of it. Months are counted in the account's own time zone.
    """
    appended_at = now if incoming.appended_at is None else min(incoming.appended_at, now)
    zone = incoming.data.time_zone if isinstance(incoming.data, PlanChanged) else None
    earliest = Calendar(appended_at, zone or "UTC").starts_at(-age_months_max)
    return appended_at if incoming.occurred_at < earliest else incoming.occurred_at


def note_of(began_at: datetime) -> str:
    """The note of the decision on a first plan that is too old. The audit reads the instant from it."""
    return _NOTE + began_at.astimezone(UTC).isoformat()


def began_at(note: str | None) -> datetime | None:
    """The instant in a note of `note_of`; None for another note."""
    return datetime.fromisoformat(note.removeprefix(_NOTE)) if note is not None and note.startswith(_NOTE) else None

"""Where an account begins: in the month of its first plan's event, unless that event is too old to begin with."""

from datetime import UTC, datetime

from credit_contracts.incoming import PlanChanged
from credit_service.domain.event import Incoming
from credit_service.domain.period import Calendar

AGE_MONTHS_MAX = 24
"""The default of how old a first plan's event may be when it is appended, for its month to be the first."""

_NOTE = "the event is older than a first plan may be; the account begins in the month of its append time, "


def begins_at(incoming: Incoming, now: datetime, age_months_max: int) -> datetime:
    """The instant in whose month an account begins whose first plan is `incoming`.

    That is when the event occurred; if that lies more than `age_months_max` months before Kafka took it, the latter:
    else hundreds of months would turn that nobody has ever had. The database's clock stands for a time of Kafka's that
    is not known, or lies ahead of it. Months are counted in the account's own time zone.
    """
    appended_at = now if incoming.appended_at is None else min(incoming.appended_at, now)
    zone = incoming.data.time_zone if isinstance(incoming.data, PlanChanged) else None
    earliest = Calendar(appended_at, zone or "UTC").starts_at(-age_months_max)
    return appended_at if incoming.occurred_at < earliest else incoming.occurred_at


def note_of(began_at: datetime) -> str:
    """What the decision of a first plan that is too old says: all that a recomputation needs to know of it."""
    return _NOTE + began_at.astimezone(UTC).isoformat()


def began_at(note: str | None) -> datetime | None:
    """The instant that `note_of` told; None if the note says something else."""
    return datetime.fromisoformat(note.removeprefix(_NOTE)) if note is not None and note.startswith(_NOTE) else None

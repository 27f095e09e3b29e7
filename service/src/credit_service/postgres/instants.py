"""Correction of instants as asyncpg reads them."""

from datetime import UTC, datetime


def with_zone(instant: datetime | None) -> datetime | None:
    """The instant with its zone: asyncpg writes the largest datetime as infinity, and reads that without a zone.

    Needed for `expires_at`, which operators and producers may set without a limit; no other column comes so far.
    """
    return instant if instant is None or instant.tzinfo is not None else instant.replace(tzinfo=UTC)

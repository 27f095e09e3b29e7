"""Instants as asyncpg reads them."""

from datetime import UTC, datetime


def with_zone(instant: datetime | None) -> datetime | None:
    """The instant with its zone: asyncpg writes the last one there is as infinity, and reads that without a zone.

    For what anybody may set as far ahead as they like; no other column comes so far.
    """
    return instant if instant is None or instant.tzinfo is not None else instant.replace(tzinfo=UTC)

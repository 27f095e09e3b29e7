"""Look-up of known events and dead letters, for messages that are read again; it locks nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.processing.known_events import KnownKey, KnownLetter
from credit_service.domain.event import Incoming, Place
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Connection, Pool


class PostgresLookup:
    """The application's `Lookup`, on a pool, or on the one connection of a snapshot."""

    def __init__(self, connection: "Connection | Pool", topic_prefix: str) -> None:
        self._connection = connection
        self._topic_prefix = topic_prefix

    async def keys(self, events: Sequence[Incoming]) -> list[KnownKey | None]:
        """See `application.processing.known_events.Lookup`."""
        known: list[KnownKey | None] = [None] * len(events)
        with translated_errors():
            rows = await self._connection.fetch(
                sql("look_up_keys"), [e.account_id for e in events], [e.key for e in events]
            )
        for nth, content, event_type, partition, offset, position in rows:
            place = None if partition is None else Place(self._topic_prefix + event_type, partition, offset)
            known[nth - 1] = KnownKey(content, place, position)
        return known

    async def letters(self, places: Sequence[Place]) -> dict[Place, KnownLetter]:
        """See `application.processing.known_events.Lookup`."""
        with translated_errors():
            columns = map(list, zip(*places, strict=True))
            rows = await self._connection.fetch(sql("look_up_dead_letters"), *columns, bounds.LETTERS_OF_A_PLACE_MAX)
        return {Place(*row[:3]): KnownLetter(*row[3:]) for row in rows}

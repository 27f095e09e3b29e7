"""The order of a record among those of other topics: its event's time, and never far after its arrival in Kafka.

So an event of the year 2099 at the head of a partition does not hold back the records behind it, in a backlog or live:
it is refused, and has no place of its own. A broker's timestamp is the time of arrival. A producer's timestamp is less
reliable: the latest one of the partition so far counts, or the database's clock where that is earlier.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from credit_contracts.envelope import Unreadable
from credit_service.application.record import Record, kafka_time
from credit_service.domain.event import AHEAD_MAX, EARLIEST

LATEST = datetime.max.replace(tzinfo=UTC) - AHEAD_MAX
"""A producer may send any time; adding 5 minutes to the last possible one would overflow."""


class LedgerClock:
    """The database's clock as last read, advanced by this process's monotonic clock."""

    def __init__(self) -> None:
        self._read: tuple[datetime, float] | None = None

    def note(self, now: datetime) -> None:
        """Sets the clock."""
        self._read = now, time.monotonic()

    def now(self) -> datetime | None:
        """The time; None until the clock is set for the first time."""
        if self._read is None:
            return None
        at, noted = self._read
        return at + timedelta(seconds=time.monotonic() - noted)


class Arrivals:
    """Orders the records of one partition among those of other topics, in their order of arrival."""

    def __init__(self, clock: LedgerClock) -> None:
        self._clock = clock
        self._latest: datetime | None = None
        self._reached = EARLIEST

    def put_in_order(self, records: Iterable[Record]) -> None:
        """Sets the `order` of each record; an unreadable one has the time of its arrival.

        An event that will be refused as from the future has the order of the one before it.
        """
        now = self._clock.now()
        for record in records:
            came_at = self._came_at(record, now)
            if came_at is None:
                at = record.order[0]
            elif isinstance(record.content, Unreadable):
                at = came_at
            elif (at := record.order[0]) > came_at + AHEAD_MAX:
                judged_at = came_at if record.is_append_time else now
                is_refused = judged_at is not None and at > judged_at + AHEAD_MAX
                at = self._reached if is_refused else came_at + AHEAD_MAX
            record.order = at, *record.order[1:]
            self._reached = at

    def _came_at(self, record: Record, now: datetime | None) -> datetime | None:
        """The time at which the record arrived, if known; a timestamp below 0 is no time."""
        if record.timestamp_ms >= 0:
            at = min(kafka_time(record.timestamp_ms), LATEST)
            if record.is_append_time:
                return at
            if self._latest is None or at > self._latest:
                self._latest = at
        if self._latest is None or now is None:
            return self._latest or now
        return min(self._latest, now)

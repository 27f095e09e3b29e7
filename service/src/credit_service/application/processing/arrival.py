"""Where a record stands among those of other topics: at its event's time, and never far behind its arrival in Kafka.

So an event of the year 2099 at the head of a partition does not hold back what lies behind it, in a backlog as little
as live: it is refused, and has no place of its own. A broker's own time says when a record arrived. A producer's says
less: of those of a partition the latest so far counts, and the database's clock where that is earlier.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from credit_contracts.envelope import Unreadable
from credit_service.application.record import Record, kafka_time
from credit_service.domain.event import AHEAD_MAX, EARLIEST

LATEST = datetime.max.replace(tzinfo=UTC) - AHEAD_MAX
"""A producer may give any time; there is none 5 minutes behind the last one."""


class LedgerClock:
    """The database's clock as this process last heard it; the process's own says how long ago that was."""

    def __init__(self) -> None:
        self._heard: tuple[datetime, float] | None = None

    def note(self, now: datetime) -> None:
        """Sets the clock."""
        self._heard = now, time.monotonic()

    def now(self) -> datetime | None:
        """None until it was set for the first time."""
        if self._heard is None:
            return None
        at, noted = self._heard
        return at + timedelta(seconds=time.monotonic() - noted)


class Arrivals:
    """Of one partition: puts its records, in their order of arrival, in their place among those of other topics."""

    def __init__(self, clock: LedgerClock) -> None:
        self._clock = clock
        self._latest: datetime | None = None
        self._reached = EARLIEST

    def put_in_order(self, records: Iterable[Record]) -> None:
        """Sets the `order` of each; of what is unreadable it is the time of its arrival.

        What will be refused as from the future stands where the one before it does.
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
        """When the record arrived, as far as that is known; a timestamp below 0 says nothing."""
        if record.timestamp_ms >= 0:
            at = min(kafka_time(record.timestamp_ms), LATEST)
            if record.is_append_time:
                return at
            if self._latest is None or at > self._latest:
                self._latest = at
        if self._latest is None or now is None:
            return self._latest or now
        return min(self._latest, now)

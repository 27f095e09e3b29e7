"""Unreadable messages in a row, by topic: a bad release upstream must not be drained into dead letters."""

from collections.abc import Iterable

from credit_contracts.envelope import Unreadable
from credit_service.application.record import Record


class UnreadableRuns:
    """Counts what this member decides; the runs begin anew when the service does."""

    def __init__(self, in_a_row_max: int) -> None:
        self._in_a_row_max = in_a_row_max
        self._runs: dict[str, int] = {}

    def count(self, records: Iterable[Record]) -> set[str]:
        """Takes records in the order of their decision; the topics whose run has reached the most, begun anew."""
        over = set()
        for record in records:
            topic = record.place.topic
            if not isinstance(record.content, Unreadable):
                self._runs[topic] = 0
                continue
            self._runs[topic] = self._runs.get(topic, 0) + 1
            if self._runs[topic] >= self._in_a_row_max:
                over.add(topic)
                self._runs[topic] = 0
        return over

"""Rows that Kafka refuses for good: halving finds them, and others of a topic tell whether it is the row or the topic.

A row is set aside only if others of its topic were taken after it was refused, and it is refused once more. Until then
it is suspected: it waits in the outbox, and so do the later events of its account.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from aiokafka import errors

from credit_service import bounds
from credit_service.application.ports import Claim, Excluded, WaitingEvent

TRY_AGAIN_SECONDS = 5.0
"""A person has to mend a topic that takes nothing."""
TRIED_MAX = 20
"""So many rows of a topic are refused before it is said to take none, and the rest of it is left alone."""
TRIED_MORE = 10
"""So many more are then tried, each time that it is tried again."""


class InvalidRecord(errors.BrokerResponseError):  # type: ignore[misc]
    """The broker found a record invalid, such as one without a key for a compacted topic. aiokafka does not know it."""

    errno = 87
    message = "INVALID_RECORD"
    description = "This record has failed the validation on the broker and hence been rejected."


errors.kafka_errors.setdefault(InvalidRecord.errno, InvalidRecord)

REFUSED_FOR_GOOD = (
    InvalidRecord,
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.RecordTooLargeError,
    errors.CorruptRecordException,
    errors.InvalidTimestampError,
    errors.PolicyViolationError,
    errors.UnsupportedForMessageFormatError,
)
"""Of these no other attempt is better."""


class NotTaken(errors.KafkaError):  # type: ignore[misc]
    """The client takes a record into no batch, not even into an empty one."""


@dataclass(slots=True)
class RowsRefused(Exception):  # noqa: N818 - reads as what happened
    """A transaction was not committed, since rows were refused: groups of their places in the claim, each with why.

    Of the topics `taken` other rows were taken in the same transaction.
    """

    groups: Sequence[tuple[Sequence[int], str]]
    taken: Collection[str] = ()


@dataclass(slots=True)
class _Suspect:
    topic: str
    key: bytes | None
    cause: str
    # Rows of its topic were taken after it was refused: it is tried once more.
    is_tried_again: bool = False


@dataclass(slots=True)
class RefusedRows:
    """What one leader knows of them; the next one finds it out anew."""

    clock: Callable[[], float] = time.monotonic
    rows_max: int = field(default_factory=lambda: bounds.CLAIM_ROWS_MAX)
    _suspects: dict[int, _Suspect] = field(default_factory=dict)
    _tried_max: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: TRIED_MAX))
    _tried_at: float = 0.0

    @property
    def left_out(self) -> Excluded:
        """What the next claim leaves alone."""
        left = {number: one for number, one in self._suspects.items() if not one.is_tried_again}
        keys = {one.key for one in left.values() if one.key is not None}
        return Excluded(self._stopped(), list(left), list(keys))

    @property
    def problem(self) -> str | None:
        """The topics that take nothing of what waits, in plain words."""
        causes = {one.topic: one.cause for one in self._suspects.values() if not one.is_tried_again}
        if not causes:
            return None
        told = ", ".join(f"{topic} ({cause})" for topic, cause in sorted(causes.items()))
        return f"topics take nothing of what waits for them: {told}; see their settings, max.message.bytes first"

    def refused(self, claim: Claim, refusal: RowsRefused) -> dict[int, str]:
        """Rows of the claim were refused; those that are to be set aside, each with why."""
        singles = {places[0]: cause for places, cause in refusal.groups if len(places) == 1}
        if not singles:
            self.rows_max = max(1, len(claim.rows) // 2)
        to_set_aside = {}
        for place, cause in singles.items():
            number, row = claim.ids[place], claim.rows[place]
            before = self._suspects.pop(number, None)
            if row.topic in refusal.taken or (before is not None and before.is_tried_again):
                to_set_aside[number] = cause
            else:
                key = row.key if isinstance(row, WaitingEvent) else None
                self._suspects[number] = _Suspect(row.topic, key, cause)
                self._tried_at = self.clock()
        return to_set_aside

    def published(self, claim: Claim) -> None:
        """The claim was published: what is suspected of its topics is tried once more."""
        self.rows_max = min(2 * self.rows_max, bounds.CLAIM_ROWS_MAX)
        if not self._suspects:
            return
        for number in claim.ids:
            self._suspects.pop(number, None)
        topics = {row.topic for row in claim.rows}
        for one in self._suspects.values():
            if one.topic in topics and not one.is_tried_again:
                one.is_tried_again = True
                self.rows_max = 1
        for topic in topics:
            self._tried_max.pop(topic, None)

    def try_again(self) -> None:
        """Once in a while the first of each topic that takes nothing is tried again, and some more of it."""
        now = self.clock()
        if not self._suspects or now < self._tried_at + TRY_AGAIN_SECONDS:
            return
        self._tried_at = now
        counts = Counter(one.topic for one in self._suspects.values() if not one.is_tried_again)
        for topic in self._stopped():
            self._tried_max[topic] = counts[topic] + TRIED_MORE
        for topic in counts:
            self._suspects.pop(min(number for number, one in self._suspects.items() if one.topic == topic))
        self.rows_max = 1

    def _stopped(self) -> list[str]:
        counts = Counter(one.topic for one in self._suspects.values() if not one.is_tried_again)
        return [topic for topic, count in counts.items() if count >= self._tried_max[topic]]

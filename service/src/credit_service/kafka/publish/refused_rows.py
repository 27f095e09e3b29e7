"""Finds rows that Kafka refuses for good, by halving claims, and tells them from topics that refuse all rows.

A row is set aside only if other rows of its topic were accepted after it was refused, and it is refused once more.
Until then it is suspected: it waits in the outbox, and so do the later events of its account.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from aiokafka import errors

from credit_service import bounds
from credit_service.application.ports import Claim, Excluded, WaitingEvent

TRY_AGAIN_SECONDS = 5.0
"""An operator has to repair a topic that accepts no row."""
TRIED_MAX = 20
"""The number of refused rows after which a topic counts as one that accepts none: no other row is tried then."""
TRIED_MORE = 10
"""The number of further rows that are tried each time that the topic is tried again."""


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
"""Errors for which a further attempt is useless."""


class NotTaken(errors.KafkaError):  # type: ignore[misc]
    """The client accepts a record in no batch, not even in an empty one."""


@dataclass(slots=True)
class RowsRefused(Exception):  # noqa: N818 - reads as what happened
    """A transaction was not committed because rows were refused: groups of their indexes in the claim, with causes.

    The topics `taken` accepted other rows in the same transaction.
    """

    groups: Sequence[tuple[Sequence[int], str]]
    taken: Collection[str] = ()


@dataclass(slots=True)
class _Suspect:
    topic: str
    key: bytes | None
    cause: str
    # Rows of its topic were accepted after it was refused: it is tried once more.
    is_tried_again: bool = False


@dataclass(slots=True)
class RefusedRows:
    """The refused rows that one leader knows; the next leader finds them again."""

    clock: Callable[[], float] = time.monotonic
    rows_max: int = field(default_factory=lambda: bounds.CLAIM_ROWS_MAX)
    _suspects: dict[int, _Suspect] = field(default_factory=dict)
    _tried_max: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: TRIED_MAX))
    _tried_at: float = 0.0

    @property
    def left_out(self) -> Excluded:
        """The rows and topics that the next claim leaves out."""
        left = {number: one for number, one in self._suspects.items() if not one.is_tried_again}
        keys = {one.key for one in left.values() if one.key is not None}
        return Excluded(self._stopped(), list(left), list(keys))

    @property
    def problem(self) -> str | None:
        """The topics that accept none of their waiting rows, in a sentence."""
        causes = {one.topic: one.cause for one in self._suspects.values() if not one.is_tried_again}
        if not causes:
            return None
        listed = ", ".join(f"{topic} ({cause})" for topic, cause in sorted(causes.items()))
        return f"topics accept none of their waiting rows: {listed}; see their settings, max.message.bytes first"

    def refused(self, claim: Claim, refusal: RowsRefused) -> dict[int, str]:
        """Notes refused rows of the claim; returns those to set aside, each with the cause."""
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
        """Notes a published claim: suspected rows of its topics are tried once more."""
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
        """Has the first row of each refusing topic, and some further rows, tried again every few seconds."""
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

"""Counts bad messages by topic, so that a faulty producer does not fill the dead letters."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from credit_contracts.envelope import Unreadable
from credit_service import bounds
from credit_service.application.processing.reasons import REASONS_OF_ACCOUNTS, REASONS_OF_FAULTS, REASONS_OF_WAITING
from credit_service.application.record import Record
from credit_service.domain.event import Place

NOT_THE_TOPICS = frozenset({*REASONS_OF_FAULTS, *REASONS_OF_WAITING, *REASONS_OF_ACCOUNTS})
"""Reasons that are not the topic's fault: this service or its database failed, or an account has no plan.

A message with one of them counts neither as good nor as bad.
"""


@dataclass(slots=True)
class _Topic:
    """The number of counted messages, of the last bad ones in a row, and the recent bad ones.

    Only bad messages are remembered, by their number: for a good topic, none.
    """

    judged: int = 0
    in_a_row: int = 0
    bad: deque[int] = field(default_factory=deque)

    def take_good(self, count: int) -> None:
        self.judged += count
        self.in_a_row = 0

    def take(self, *, is_bad: bool) -> None:
        if not is_bad:
            self.take_good(1)
            return
        self.judged += 1
        self.in_a_row += 1
        self.bad.append(self.judged)
        while self.bad[0] <= self.judged - bounds.JUDGED_MESSAGES or len(self.bad) > bounds.BAD_OF_JUDGED_MAX:
            self.bad.popleft()


class PoisonGuard:
    """Counts the messages that this member decides, in their order; the counts begin anew when the service starts.

    A topic is over its limit when so many of its messages in a row are bad, or so many of the last ones: unreadable, or
    refused by the rules. The last ones are a window that moves with each message: with fixed blocks, two of them could
    each be just below the limit while the messages between their middles are over it.
    """

    def __init__(self, in_a_row_max: int) -> None:
        self._in_a_row_max = in_a_row_max
        self._topics: dict[str, _Topic] = defaultdict(_Topic)

    def count(self, records: Iterable[Record], reasons: Mapping[Place, str]) -> dict[str, str]:
        """Takes records in the order of their decision, with the `reasons` of those that became dead letters.

        Returns the topics that are over a limit, with the reason. They stay so until `forget`, or until good messages
        follow.
        """
        over: dict[str, str] = {}
        if not reasons:
            for name, count in Counter(record.place.topic for record in records).items():
                self._topics[name].take_good(count)
            return over
        for record in records:
            reason = reasons.get(record.place)
            if reason in NOT_THE_TOPICS and not isinstance(record.content, Unreadable):
                continue
            name = record.place.topic
            topic = self._topics[name]
            topic.take(is_bad=reason is not None)
            if reason is not None and (limit := self._over(topic)):
                over[name] = f"{limit} are unreadable or refused, the last one: {reason}"
        return over

    def forget(self, topics: Iterable[str]) -> None:
        """Starts the counts of these topics anew."""
        for name in topics:
            self._topics.pop(name, None)

    def _over(self, topic: _Topic) -> str | None:
        if topic.in_a_row >= self._in_a_row_max:
            return f"{self._in_a_row_max} messages in a row"
        if len(topic.bad) >= bounds.BAD_OF_JUDGED_MAX:
            return f"{bounds.BAD_OF_JUDGED_MAX} of the last {bounds.JUDGED_MESSAGES} messages"
        return None

"""The counts of one batch, for its log line and the metrics."""

from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter

from credit_service.application.ports import ToStore
from credit_service.domain.event import Place
from credit_service.domain.room import is_full

STEPS = ("load", "decide", "store", "commit")
"""The timed steps of a batch."""

TYPE_AND_OUTCOME = attrgetter("type", "outcome")
REASON = attrgetter("reason")


@dataclass(slots=True)
class Report:
    """The results of one batch.

    `outcomes_by_type` are counted by event type and outcome, `letters_by_topic` by Kafka's topic and reason, `reasons`
    are those of balance changes. `wakes` is how many were dealt with; the timers of the accounts `failed` failed.
    `ran_out`: nothing is stored, since it took longer than a transaction may. `became_letters` has the reason of each
    message that became a dead letter, `left_out` counts the letters that are kept without their bytes, by topic.
    """

    events: int = 0
    outcomes_by_type: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    letters_by_topic: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    retries: int = 0
    misplaced: Counter[str] = field(default_factory=Counter)
    wakes: int = 0
    failed: set[str] = field(default_factory=set)
    refused: set[Place] = field(default_factory=set)
    became_letters: dict[Place, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    lagging_accounts: set[str] = field(default_factory=set)
    ran_out: bool = False

    @property
    def outcomes(self) -> Counter[str]:
        """The outcomes of events and timers of all types."""
        return _summed(self.outcomes_by_type)

    @property
    def failed_wakes(self) -> int:
        """How many accounts' timers failed."""
        return len(self.failed)

    @property
    def changes(self) -> int:
        """How many balance changes were recorded."""
        return self.reasons.total()

    @property
    def dead_letters(self) -> Counter[str]:
        """The dead letters of all topics, by reason."""
        return _summed(self.letters_by_topic)

    def add(self, other: "Report") -> None:
        """Adds the counts of another part of the same batch."""
        self.events += other.events
        self.outcomes_by_type.update(other.outcomes_by_type)
        self.reasons.update(other.reasons)
        self.letters_by_topic.update(other.letters_by_topic)
        for step, seconds in other.seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds
        self.retries += other.retries
        self.misplaced.update(other.misplaced)
        self.wakes += other.wakes
        self.failed |= other.failed
        self.refused |= other.refused
        self.became_letters |= other.became_letters
        self.left_out.update(other.left_out)
        self.lagging_accounts |= other.lagging_accounts

    def count(self, what: ToStore) -> None:
        """Counts what one transaction has stored."""
        decided, letters = what.decided, what.dead_letters
        self.outcomes_by_type.update(map(TYPE_AND_OUTCOME, decided.decisions))
        self.outcomes_by_type.update((incoming.type, "duplicate") for incoming in decided.duplicates)
        self.outcomes_by_type.update((incoming.type, "parked") for incoming in decided.parked)
        self.reasons.update(map(REASON, decided.changes))
        self.refused |= {refused.incoming.place for refused in decided.refused}
        self.became_letters |= {letter.record.place: letter.reason for letter in letters}
        self.left_out.update(what.left_out)
        self.letters_by_topic.update((letter.record.place.topic, letter.reason) for letter in letters)
        self.lagging_accounts |= {
            account.account_id for account in what.accounts.values() if account.can_unpark and not is_full(account)
        }


def _summed(counts: Counter[tuple[str, str]]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for (_, name), count in counts.items():
        summed[name] += count
    return summed

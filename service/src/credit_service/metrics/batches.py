"""The metrics that are counted after each committed batch."""

from collections.abc import Callable
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram

from credit_service.application.processing.report import Report
from credit_service.metrics.labels import DEAD_LETTER, OUTCOMES, READ, REASONS, STEP

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
EVENTS_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


class BatchMetrics:
    """Counters and histograms; `event_type` maps a topic of Kafka to its name in the contracts."""

    def __init__(self, registry: CollectorRegistry, event_type: Callable[[str], str]) -> None:
        self._event_type = event_type

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"credits_{name}", help_text, labels, registry=registry)

        self._events = counter("events", "Messages by outcome", "topic", "outcome")
        self._decisions = counter("decisions", "Decisions recorded, of messages and of timers")
        self._charges = counter("charges", "Charges recorded")
        self._declines = counter("declines", "Charges declined for want of credits")
        self._refunds = counter("refunds", "Refunds recorded")
        self._renewals = counter("renewals", "Renewals of a billing month")
        self._duplicates = counter("duplicates", "Messages that were decided before, and had no second effect")
        self._conflicts = counter("conflicts", "Messages with the key of another one and other content")
        self._changes = counter("balance_changes", "Balance changes recorded")
        self._letters = counter("dead_letters", "Messages that were not decided", "topic", "reason")
        self._left_out = counter(
            "dead_letters_left_out", "Dead letters that are kept without their bytes, which Kafka has", "topic"
        )
        self._misplaced = counter(
            "misplaced_messages", "Messages in another partition than their account's, decided all the same", "topic"
        )
        self._failed_wakes = counter("failed_wakes", "Timers of an account that could not be fired")
        self._batch_events = Histogram(
            "credits_batch_events", "Messages in one transaction; 0: timers", buckets=EVENTS_BUCKETS, registry=registry
        )
        self._step_seconds = Histogram(
            "credits_batch_step_seconds",
            "Time that a transaction took, by step",
            ["step"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Creates all series: one that is created with its first event has no increase, which alerts look for."""
        for topic, outcome in product(READ, OUTCOMES):
            self._events.labels(topic, outcome)
        for topic, reason in product(READ, REASONS):
            self._letters.labels(topic, reason)
        for topic in READ:
            self._misplaced.labels(topic)
            self._left_out.labels(topic)
        for step in STEP:
            self._step_seconds.labels(step)

    def stored(self, report: Report) -> None:
        """Counts one committed batch."""
        for (event_type, outcome), count in report.outcomes_by_type.items():
            if event_type in READ:
                self._events.labels(event_type, outcome).inc(count)
        for (topic, reason), count in report.letters_by_topic.items():
            self._letters.labels(self._event_type(topic), reason).inc(count)
            self._events.labels(self._event_type(topic), DEAD_LETTER).inc(count)
        for topic, count in report.left_out.items():
            self._left_out.labels(self._event_type(topic)).inc(count)
        for topic, count in report.misplaced.items():
            self._misplaced.labels(self._event_type(topic)).inc(count)
        for step, seconds in report.seconds.items():
            self._step_seconds.labels(step).observe(seconds)
        outcomes = report.outcomes
        self._decisions.inc(outcomes.total() - outcomes["duplicate"] - outcomes["parked"])
        self._charges.inc(report.reasons["charge"])
        self._refunds.inc(report.reasons["refund"])
        self._declines.inc(outcomes["declined"])
        self._renewals.inc(outcomes["renewed"])
        self._duplicates.inc(outcomes["duplicate"])
        self._conflicts.inc(report.dead_letters["conflict"])
        self._changes.inc(report.changes)
        self._failed_wakes.inc(report.failed_wakes)
        self._batch_events.observe(report.events)

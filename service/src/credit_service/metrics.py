"""Every metric of the service, each with its help. Labels are of few values; accounts are never among them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from credit_service.application.process import Report

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
EVENTS_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics:
    """The service's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._outcomes = Counter("credits_events", "Events by what became of them", ["outcome"], registry=self.registry)
        self._changes = Counter("credits_balance_changes", "Balance changes recorded", registry=self.registry)
        self._dead_letters = Counter(
            "credits_dead_letters", "Messages not decided, by reason", ["reason"], registry=self.registry
        )
        self._misplaced = Counter(
            "credits_misplaced_messages", "Messages in another partition than their account's", registry=self.registry
        )
        self._retries = Counter(
            "credits_batch_retries", "Attempts repeated because the ledger was away", registry=self.registry
        )
        self._batch_events = Histogram(
            "credits_batch_events", "Events in one batch", buckets=EVENTS_BUCKETS, registry=self.registry
        )
        self._step_seconds = Histogram(
            "credits_batch_step_seconds",
            "Time a batch took, by step",
            ["step"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._buffered = Gauge("credits_buffered_messages", "Messages read and not decided yet", registry=self.registry)
        self.relay_leads = Gauge("credits_relay_leads", "1 where this process publishes", registry=self.registry)

    def stored(self, report: Report, buffered: int) -> None:
        """Takes in one batch that was committed."""
        for outcome, count in report.outcomes.items():
            self._outcomes.labels(outcome).inc(count)
        for reason, count in report.dead_letters.items():
            self._dead_letters.labels(reason).inc(count)
        for step, seconds in report.seconds.items():
            self._step_seconds.labels(step).observe(seconds)
        self._changes.inc(report.changes)
        self._misplaced.inc(report.misplaced)
        self._retries.inc(report.retries)
        self._batch_events.observe(report.events)
        self._buffered.set(buffered)

"""Every metric of the service, in a registry of its own."""

from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from credit_service.application.processing.report import Report
from credit_service.metrics.batches import BatchMetrics
from credit_service.metrics.gauges import ServiceState, StateCollector


class Metrics:
    """Counts stored batches; shows `state` at each scrape.

    `event_type` maps a topic of Kafka to its name in the contracts; `schema` is the newest migration.
    """

    def __init__(self, event_type: Callable[[str], str], schema: str) -> None:
        self.registry = CollectorRegistry()
        self.state: Callable[[], ServiceState] = ServiceState
        self._batches = BatchMetrics(self.registry, event_type)
        self.registry.register(StateCollector(lambda: self.state()))
        ProcessCollector(registry=self.registry)
        info = Gauge(
            "credits_info",
            "1; the release, and the schema it was built for",
            ["version", "schema"],
            registry=self.registry,
        )
        info.labels(version("credit-service"), schema).set(1)

    def stored(self, report: Report) -> None:
        """Counts one committed batch."""
        self._batches.stored(report)

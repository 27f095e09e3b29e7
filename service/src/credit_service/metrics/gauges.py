"""The metrics that are read at each scrape; values that are not known are left out."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from credit_service.application.health_ports import Backlog
from credit_service.domain.room import ACCOUNTS_MAX
from credit_service.metrics.labels import DEGRADED, PUBLISHED


@dataclass(frozen=True, slots=True)
class PoolUse:
    """One pool of connections: how many are open, how many of them are idle, and how many may be open."""

    name: str
    open: int
    idle: int
    most: int


@dataclass(frozen=True, slots=True)
class TopicLag:
    """How far a topic is behind in this member's partitions."""

    messages: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceState:
    """All values of one moment; None where a value is not known."""

    is_ready: bool = False
    degraded: Collection[str] = ()
    buffered: int = 0
    assigned: int = 0
    progress_age_seconds: float = 0.0
    retries: int = 0
    relay_leads: bool = False
    relay_restarts: int = 0
    published: Mapping[str, int] = field(default_factory=dict)
    pools: Sequence[PoolUse] = ()
    lag: Mapping[str, TopicLag] | None = None
    database_answers: bool | None = None
    backlog: Backlog | None = None


Samples = Iterable[tuple[Sequence[str], float]]


class MetricSpec(NamedTuple):
    """One metric: its name, its help text, and how its values are read."""

    kind: type[GaugeMetricFamily | CounterMetricFamily]
    name: str
    help: str
    labels: Sequence[str]
    values: Callable[[ServiceState], Samples]


def _gauge(name: str, help_text: str, value: Callable[[ServiceState], float | None]) -> MetricSpec:
    return MetricSpec(GaugeMetricFamily, f"credits_{name}", help_text, (), lambda s: _known(value(s)))


def _counter(name: str, help_text: str, value: Callable[[ServiceState], int]) -> MetricSpec:
    return MetricSpec(CounterMetricFamily, f"credits_{name}", help_text, (), lambda s: _known(value(s)))


def _backlog(name: str, help_text: str, value: Callable[[Backlog], float]) -> MetricSpec:
    return _gauge(name, help_text, lambda s: None if s.backlog is None else value(s.backlog))


def _known(value: float | None) -> Samples:
    return [] if value is None else [((), value)]


def _lag(value: Callable[[TopicLag], float]) -> Callable[[ServiceState], Samples]:
    return lambda s: [((topic,), value(lag)) for topic, lag in (s.lag or {}).items()]


SPECS = (
    _gauge("ready", "1 while nothing is missing, as /readyz says", lambda s: s.is_ready),
    MetricSpec(
        GaugeMetricFamily,
        "credits_degraded",
        "1 while /readyz says that this part waits for a person",
        ["part"],
        lambda s: [((part,), part in s.degraded) for part in DEGRADED],
    ),
    _gauge("buffered_messages", "Messages read and not decided yet", lambda s: s.buffered),
    _gauge("assigned_partitions", "Partitions that this member reads", lambda s: s.assigned),
    _gauge(
        "progress_age_seconds",
        "Time that messages have waited without one being decided; 0: all is well",
        lambda s: s.progress_age_seconds,
    ),
    _counter("batch_retries", "Attempts repeated because the database was away or too slow", lambda s: s.retries),
    MetricSpec(
        GaugeMetricFamily,
        "credits_lag_messages",
        "Messages of this member's partitions that are not decided yet",
        ["topic"],
        _lag(lambda lag: lag.messages),
    ),
    MetricSpec(
        GaugeMetricFamily,
        "credits_lag_seconds",
        "Age of the oldest message of this member's partitions that is not decided yet; 0: none",
        ["topic"],
        _lag(lambda lag: lag.seconds),
    ),
    _gauge("relay_leads", "1 where this process publishes", lambda s: s.relay_leads),
    _counter("relay_restarts", "Restarts of the relay after a fault", lambda s: s.relay_restarts),
    MetricSpec(
        CounterMetricFamily,
        "credits_published_events",
        "Outgoing events published by this process",
        ["topic"],
        lambda s: [((topic,), s.published.get(topic, 0)) for topic in PUBLISHED],
    ),
    MetricSpec(
        GaugeMetricFamily,
        "credits_pool_connections",
        "Open connections to Postgres",
        ["pool", "state"],
        lambda s: [
            ((pool.name, state), count)
            for pool in s.pools
            for state, count in (("idle", pool.idle), ("used", pool.open - pool.idle))
        ],
    ),
    MetricSpec(
        GaugeMetricFamily,
        "credits_pool_connections_max",
        "Connections to Postgres that a pool may open",
        ["pool"],
        lambda s: [((pool.name,), pool.most) for pool in s.pools],
    ),
    _gauge("database_up", "1 if the database answered when last looked at", lambda s: s.database_answers),
    _backlog("outbox_events", "Events that wait to be published", lambda b: b.outbox_events),
    _backlog(
        "outbox_oldest_age_seconds",
        "Age of the oldest event that waits to be published; 0: none",
        lambda b: b.outbox_oldest_seconds,
    ),
    _backlog(
        "outbox_set_aside_rows", "Rows that Kafka refuses, until a person retries or drops them", lambda b: b.set_aside
    ),
    _backlog("parked_events", "Events that wait for their account's first plan", lambda b: b.parked_events),
    _backlog("dead_letters_waiting", "Dead letters that nobody has retried or discarded", lambda b: b.dead_letters),
    _backlog("refund_requests_waiting", "Refund requests that nobody has decided", lambda b: b.refund_requests),
    _backlog("offset_gaps", "Recorded gaps: messages that Kafka no longer had", lambda b: b.offset_gaps),
    _backlog("paused_topics", "Topics that are left alone until `credits resume`", lambda b: b.paused_topics),
    _backlog("timers_late", "Accounts with a timer that is more than a minute late", lambda b: b.timers_late),
    _backlog(
        "accounts_filling", "Accounts that have used 80 % of the numbers of one account", lambda b: b.accounts_filling
    ),
    _backlog(
        "account_numbers_used_ratio",
        "Part of the 2,147,483,647 numbers of accounts that is used",
        lambda b: b.last_account_no / ACCOUNTS_MAX,
    ),
)


class StateCollector(Collector):
    """Reads the state at each scrape."""

    def __init__(self, state: Callable[[], ServiceState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        state = self._state()
        for spec in SPECS:
            family = spec.kind(spec.name, spec.help, labels=spec.labels)
            for labels, value in spec.values(state):
                family.add_metric(labels, float(value))
            yield family

"""All metrics of a service without servers, with every value set."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from credit_contracts.topics import INCOMING_TOPICS
from credit_service.application.health_ports import Backlog
from credit_service.http.app import create_api
from credit_service.metrics.gauges import PoolUse, ServiceState, TopicLag
from credit_service.metrics.labels import POOLS
from credit_service.metrics.registry import Metrics
from support.tokens import ACCESS

if TYPE_CHECKING:
    from credit_service.application.queries import Reads

KNOWN = ServiceState(
    is_ready=True,
    pools=[PoolUse(name, open=3, idle=1, most=6) for name in POOLS],
    lag={topic: TopicLag(messages=2, seconds=1.5) for topic in INCOMING_TOPICS},
    database_answers=True,
    backlog=Backlog(1, 2.5, 3, 4, 5, 6, 7, 8),
)


def metrics_of_a_service() -> Metrics:
    """As the service makes them, in a deployment whose topics begin with `stage-`; nobody asks the API."""
    metrics = Metrics(lambda topic: topic.removeprefix("stage-"), "20260101000001")
    create_api(cast("Reads", None), ACCESS, registry=metrics.registry)
    return metrics

"""Every metric is in the table of the documents and has the right value; unknown values are not shown."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from credit_contracts.topics import INCOMING_TOPICS
from credit_service.application.processing.report import Report
from credit_service.metrics.gauges import ServiceState
from credit_service.metrics.labels import OUTCOMES, REASONS
from credit_service.metrics.registry import Metrics
from support.exposed import KNOWN, metrics_of_a_service

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

DOCUMENT = (Path(__file__).parents[3] / "deploy" / "METRICS.md").read_text()


@pytest.fixture
def metrics() -> Metrics:
    return metrics_of_a_service()


def shown(metrics: Metrics) -> dict[str, Metric]:
    """The values of a scrape, by the names that queries use."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {f.name + "_total" * (f.type == "counter"): f for f in families if not f.name.endswith("_created")}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_the_table_of_the_docs_is_the_registry(metrics: Metrics) -> None:
    metrics.state = lambda: KNOWN
    told = [
        tuple(cell.strip() for cell in row.strip("|").split("|"))
        for row in re.findall(r"^\| `credits_.*$", DOCUMENT, re.MULTILINE)
    ]

    def row(name: str, family: Metric) -> tuple[str, ...]:
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        return f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation

    families = {name: family for name, family in shown(metrics).items() if name.startswith("credits_")}
    assert sorted(told) == sorted(row(name, family) for name, family in families.items())


def test_names_end_in_their_unit_and_say_what_they_count(metrics: Metrics) -> None:
    metrics.state = lambda: KNOWN
    for name, family in shown(metrics).items():
        assert family.documentation, name
        assert name.endswith("_total") == (family.type == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|kb)(_|$)", name), name


def test_labels_are_of_the_closed_sets_alone_and_there_from_the_start(metrics: Metrics) -> None:
    """The first count is an increase, which alerts look for."""
    before = shown(metrics)
    assert value(metrics, "credits_events_total", topic="email-bounced", outcome="refunded") == 0
    assert value(metrics, "credits_dead_letters_total", topic="email-bounced", reason="conflict") == 0
    report = Report(events=10, seconds=dict.fromkeys(("load", "decide", "store", "commit"), 0.1))
    for topic in INCOMING_TOPICS:
        report.outcomes_by_type.update((topic, outcome) for outcome in OUTCOMES if outcome != "dead-letter")
        report.letters_by_topic.update((f"stage-{topic}", reason) for reason in REASONS)
        report.misplaced[f"stage-{topic}"] += 1
    metrics.stored(report)

    def series(families: dict[str, Metric]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return {(s.name, frozenset(s.labels.items())) for f in families.values() for s in f.samples}

    assert series(shown(metrics)) == series(before)
    assert len(series(before)) < 600


def test_a_batch_is_counted_once_under_each_of_its_names(metrics: Metrics) -> None:
    report = Report(
        events=9,
        outcomes_by_type=Counter(
            {
                ("prospect-generated", "charged"): 3,
                ("prospect-generated", "declined"): 1,
                ("email-bounced", "refunded"): 1,
                ("email-bounced", "duplicate"): 2,
                ("prospect-exported", "parked"): 1,
                ("renewal", "renewed"): 4,
            }
        ),
        reasons=Counter(charge=3, refund=1, lapse=2, renewal=4),
        letters_by_topic=Counter({("stage-plan-changed", "conflict"): 1}),
    )
    metrics.stored(report)

    totals = {
        "decisions": 9,
        "charges": 3,
        "declines": 1,
        "refunds": 1,
        "renewals": 4,
        "duplicates": 2,
        "conflicts": 1,
        "balance_changes": 10,
    }
    assert {name: value(metrics, f"credits_{name}_total") for name in totals} == totals
    of_messages = [s.value for s in shown(metrics)["credits_events_total"].samples if s.name.endswith("_total")]
    assert sum(of_messages) == 9
    assert value(metrics, "credits_events_total", topic="plan-changed", outcome="dead-letter") == 1
    assert value(metrics, "credits_batch_events_sum") == 9


def test_what_nobody_knows_is_left_out_and_not_zero(metrics: Metrics) -> None:
    metrics.state = lambda: KNOWN
    assert value(metrics, "credits_outbox_events") == 1
    assert value(metrics, "credits_lag_seconds", topic="email-bounced") == 1.5
    assert value(metrics, "credits_database_up") == 1

    metrics.state = ServiceState
    assert value(metrics, "credits_outbox_events") is None
    assert value(metrics, "credits_lag_seconds", topic="email-bounced") is None
    assert value(metrics, "credits_database_up") is None
    assert value(metrics, "credits_ready") == 0

    metrics.state = lambda: ServiceState(degraded={"held"})
    assert value(metrics, "credits_degraded", part="held") == 1
    assert value(metrics, "credits_degraded", part="topics") == 0

    metrics.state = lambda: ServiceState(database_answers=False)
    assert value(metrics, "credits_database_up") == 0

"""What was measured, as it is written down: figures with their spread, and ratios with their targets."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.cost import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.reconcile import Reconciled
    from benchmarks.replay import Replay
    from benchmarks.storage import Sizes

# JSON to be, whose parts are looked up by names that are known here only.
Figures: TypeAlias = "dict[str, object]"

ONLY_FULL = "measured in the full mode only"
ONE_TRANSACTION = "one_transaction_"


@dataclass(frozen=True, slots=True)
class Target:
    """What a ratio or a figure is to reach: at least so much, or at most."""

    limit: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"

    def reached(self, value: float) -> bool:
        """Whether `value` is on the right side."""
        return value <= self.limit if self.at_most else value >= self.limit


RATIOS: dict[str, Target | None] = {
    "end_to_end_service_to_floor": Target(0.5),
    "database_path_service_to_floor": Target(0.5),
    "end_to_end_service_to_one_transaction_per_event": Target(10),
    "end_to_end_service_to_faststream_handler": None,
    "lone_event_latency_p50_to_floor": Target(3, at_most=True),
    "lone_event_latency_p99_to_floor": Target(3, at_most=True),
    "hot_account_to_spread": Target(0.8),
    "replay_to_live": Target(3),
    "reconcile_to_live": Target(3),
    "declines_to_charges": Target(1),
    "accounts_1m_to_1k_cost": Target(1.3, at_most=True),
    "ledger_20m_to_empty_cost": Target(1.3, at_most=True),
    "two_processes_to_one": None,
    "four_processes_to_one": None,
}
FIGURES: dict[str, Target] = {
    "bytes_stored_per_event": Target(600, at_most=True),
    "service_peak_memory_mib": Target(250, at_most=True),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a contender through a backlog."""

    messages: int
    began: float
    seconds: float
    cpu_seconds_per_thousand: dict[str, float | None]
    peak_memory_mib: float | None
    wal_bytes: int
    wal_page_images: int
    changes: int = 0
    published_bytes: int = 0

    @property
    def messages_per_second(self) -> float:
        """Messages worked off a second, plans included."""
        return self.messages / self.seconds


@dataclass(frozen=True, slots=True)
class Loaded:
    """Latencies at so many events a second."""

    rate: float
    seconds: list[float]


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that so many messages have added, by table."""

    messages: int
    added: Sizes

    @property
    def bytes_per_message(self) -> float:
        """Of all tables and indexes."""
        return sum(sum(parts.values()) for parts in self.added.values()) / self.messages


@dataclass(slots=True)
class Measured:
    """All runs, by contender or row, in the order in which they were made."""

    end_to_end: dict[str, list[Run]] = field(default_factory=dict)
    of_the_service: dict[str, list[Run]] = field(default_factory=dict)
    replays: list[Replay] = field(default_factory=list)
    reconciled: list[Reconciled] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    lone_event_seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    under_load: dict[str, list[Loaded]] = field(default_factory=dict)
    database_path: dict[str, list[float]] = field(default_factory=dict)
    statements: Figures = field(default_factory=dict)
    large_backlog: Run | None = None
    large_states: dict[str, Figures] = field(default_factory=dict)

    @property
    def largest_backlog(self) -> Run:
        """The run of the service through the largest backlog."""
        return self.large_backlog or self.end_to_end["service"][-1]


def figures(measured: Measured) -> Figures:
    """Every figure is a median of repeated runs, with all of them beside it."""
    largest = measured.largest_backlog
    return {
        "end_to_end": {name: _end_to_end(runs) for name, runs in measured.end_to_end.items()},
        "of_the_service": {name: _end_to_end(runs) for name, runs in measured.of_the_service.items()},
        "replay": _end_to_end([one.run for one in measured.replays])
        | {"live_messages_per_second_until_decided": spread(_live_rates(measured), digits=0)},
        "reconcile_messages_per_second": spread((one.messages_per_second for one in measured.reconciled), digits=0),
        "lone_event_latency": {name: _latency(rounds) for name, rounds in measured.lone_event_seconds.items()},
        "latency_at_half_load": {
            name: {
                "messages_per_second": spread((one.rate for one in rounds), digits=0),
                **_latency([one.seconds for one in rounds]),
            }
            for name, rounds in measured.under_load.items()
        },
        "database_path_messages_per_second": {
            name: spread(rates, digits=0) for name, rates in measured.database_path.items()
        },
        "database_path_statements": measured.statements,
        "bytes_stored_per_event": spread((one.bytes_per_message for one in measured.stored), digits=0),
        "bytes_stored_per_event_by_table": {
            name: {part: round(size / measured.stored[-1].messages, 1) for part, size in parts.items()}
            for name, parts in measured.stored[-1].added.items()
        },
        "service_peak_memory": [
            {"messages": run.messages, "mib": run.peak_memory_mib}
            for run in (*measured.end_to_end["service"], *([measured.large_backlog] if measured.large_backlog else []))
        ],
        "service_peak_memory_mib": largest.peak_memory_mib,
        "service_peak_memory_at_messages": largest.messages,
        "large_states": measured.large_states or None,
        **({} if measured.large_states else {"large_states_reason": ONLY_FULL}),
    }


def ratios(measured: Measured) -> Figures:
    """Ratios of medians of one run; what was not measured is null, with the reason beside it."""
    rates = {
        name: statistics.median(run.messages_per_second for run in runs)
        for name, runs in (measured.end_to_end | measured.of_the_service).items()
    }
    service = rates["service"]
    paths = {name: statistics.median(runs) for name, runs in measured.database_path.items()}
    replayed = statistics.median(one.run.messages_per_second for one in measured.replays)
    known = {
        "end_to_end_service_to_floor": service / rates["floor"],
        "database_path_service_to_floor": paths["service"] / paths["floor"],
        "end_to_end_service_to_one_transaction_per_event": service
        / max(rate for name, rate in rates.items() if name.startswith(ONE_TRANSACTION)),
        "end_to_end_service_to_faststream_handler": service / rates["faststream_handler"],
        "hot_account_to_spread": rates["hot_account"] / service,
        "replay_to_live": replayed / statistics.median(_live_rates(measured)),
        "reconcile_to_live": statistics.median(one.messages_per_second for one in measured.reconciled)
        / statistics.median(_live_rates(measured)),
        "declines_to_charges": rates["declines_only"] / rates["charges_only"],
        "two_processes_to_one": rates["service_2_processes"] / service,
        "four_processes_to_one": rates["service_4_processes"] / service,
    }
    for percent in (50, 99):
        seconds = {name: percentile(_all(rounds), percent) for name, rounds in measured.lone_event_seconds.items()}
        known[f"lone_event_latency_p{percent}_to_floor"] = seconds["service"] / seconds["floor"]
    told: Figures = {}
    for name in RATIOS:
        told[name] = round(known[name], 3) if name in known else measured.large_states.get(name, {}).get("ratio")
        if told[name] is None:
            told[f"{name}_reason"] = ONLY_FULL
    return told


def targets() -> Figures:
    """What each ratio and figure is to reach."""
    all_of_them = RATIOS | FIGURES
    return {name: str(target) for name, target in all_of_them.items() if target is not None}


def spread(values: Iterable[float], digits: int = 2) -> Figures:
    """The median, the extremes, and the values in the order in which they were measured."""
    rounded = [round(value, digits) for value in values]
    return {
        "median": round(statistics.median(rounded), digits),
        "min": min(rounded),
        "max": max(rounded),
        "runs": rounded,
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // 100) - 1]


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None if there are none."""
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 4) if known else None


def _live_rates(measured: Measured) -> list[float]:
    return [one.run.messages / one.live_seconds for one in measured.replays]


def _end_to_end(runs: list[Run]) -> Figures:
    return {
        "messages": runs[0].messages,
        "balance_changes": runs[0].changes,
        "messages_per_second": spread((run.messages_per_second for run in runs), digits=0),
        "balance_changes_per_second": spread((run.changes / run.seconds for run in runs), digits=0),
        "cpu_seconds_per_thousand_messages": {
            part: median(run.cpu_seconds_per_thousand[part] for run in runs) for part in PARTS
        },
        "peak_memory_mib": median(run.peak_memory_mib for run in runs),
        "wal_bytes_per_message": spread((run.wal_bytes / run.messages for run in runs), digits=0),
        "wal_page_images_per_thousand_messages": spread(
            (run.wal_page_images / run.messages * 1_000 for run in runs), digits=1
        ),
        "published_bytes_per_message": spread((run.published_bytes / run.messages for run in runs), digits=0),
    }


def _latency(rounds: list[list[float]]) -> Figures:
    seconds = _all(rounds)
    return {
        "samples": len(seconds),
        **{
            f"p{percent}_ms": {
                "all": round(1_000 * percentile(seconds, percent), 2),
                "rounds": [round(1_000 * percentile(one, percent), 2) for one in rounds],
            }
            for percent in (50, 99)
        },
        "max_ms": round(1_000 * max(seconds), 2),
    }


def _all(rounds: list[list[float]]) -> list[float]:
    return [seconds for one in rounds for seconds in one]

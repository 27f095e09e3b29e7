"""What was measured, as it is written down: figures with their spread, ratios, and a table for people."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# JSON to be, whose parts are looked up by names that are known here only.
Figures: TypeAlias = "dict[str, object]"

LATER = "not measured yet"
ONLY_FULL = "measured in the full mode only; the peaks at smaller backlogs are beside it"
RATIOS = (
    "end_to_end_service_to_floor",
    "database_path_service_to_floor",
    "end_to_end_service_to_one_transaction_per_event",
    "lone_event_latency_p50_to_floor",
    "lone_event_latency_p99_to_floor",
    "hot_account_to_spread",
    "replay_to_live",
    "accounts_1m_to_1k_cost",
    "ledger_20m_to_empty_cost",
    "two_processes_to_one",
)
ONE_TRANSACTION = "one_transaction_"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a contender through a backlog."""

    messages: int
    changes: int
    seconds: float
    cpu_seconds_per_thousand: dict[str, float | None]
    peak_memory_mib: float | None

    @property
    def messages_per_second(self) -> float:
        """Messages worked off a second, plans included."""
        return self.messages / self.seconds


@dataclass(slots=True)
class Measured:
    """All runs, by contender, in the order in which they were made."""

    end_to_end: dict[str, list[Run]] = field(default_factory=dict)
    lone_event_seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    database_path: dict[str, list[float]] = field(default_factory=dict)
    large_backlog: Run | None = None


def figures(measured: Measured) -> Figures:
    """Every figure is a median of repeated runs, with all of them beside it."""
    large = measured.large_backlog
    return {
        "end_to_end": {name: _end_to_end(runs) for name, runs in measured.end_to_end.items()},
        "lone_event_latency": {name: _latency(rounds) for name, rounds in measured.lone_event_seconds.items()},
        "database_path_messages_per_second": {
            name: spread(rates, digits=0) for name, rates in measured.database_path.items()
        },
        "service_peak_memory": [
            {"messages": run.messages, "mib": run.peak_memory_mib}
            for run in (*measured.end_to_end["service"], *([large] if large else []))
        ],
        "service_peak_memory_at_backlog_of_300000": large.peak_memory_mib if large else None,
        **({} if large else {"service_peak_memory_at_backlog_of_300000_reason": ONLY_FULL}),
    }


def ratios(measured: Measured) -> Figures:
    """Ratios of medians of one run; what was not measured is null, with the reason beside it."""
    rates = {
        name: statistics.median(run.messages_per_second for run in runs) for name, runs in measured.end_to_end.items()
    }
    pools = [rate for name, rate in rates.items() if name.startswith(ONE_TRANSACTION)]
    paths = {name: statistics.median(runs) for name, runs in measured.database_path.items()}
    known = {
        "end_to_end_service_to_floor": _ratio(rates.get("service"), rates.get("floor")),
        "end_to_end_service_to_one_transaction_per_event": _ratio(rates.get("service"), max(pools, default=None)),
        "database_path_service_to_floor": _ratio(paths.get("service"), paths.get("floor")),
    }
    for percent in (50, 99):
        seconds = {name: percentile(_all(rounds), percent) for name, rounds in measured.lone_event_seconds.items()}
        known[f"lone_event_latency_p{percent}_to_floor"] = _ratio(seconds.get("service"), seconds.get("floor"))
    told: Figures = {}
    for name in RATIOS:
        told[name] = known.get(name)
        if told[name] is None:
            told[f"{name}_reason"] = LATER
    return told


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


def table(what: Measured, quotients: Figures) -> str:
    """All of it in a form to be read."""
    lines = [
        "",
        f"{'END TO END':<28}{'messages/s':>11}{'min .. max':>17}   CPU s/1,000: service postgres kafka   peak MiB",
    ]
    for name, runs in what.end_to_end.items():
        rates = [run.messages_per_second for run in runs]
        cpu = "".join(f"{_shown(_median(_cpu(runs, part)), 9)}" for part in ("service", "postgres", "kafka"))
        memory = _shown(_median([run.peak_memory_mib for run in runs]), 9, 0)
        between = f"{min(rates):,.0f} .. {max(rates):,.0f}"
        lines.append(f"{name:<28}{statistics.median(rates):>11,.0f}{between:>17}{'':13}{cpu}{memory}")
    lines += ["", f"{'LONE EVENT':<28}{'p50 ms':>11}{'p99 ms':>11}{'max ms':>11}{'samples':>10}"]
    for name, rounds in what.lone_event_seconds.items():
        seconds = _all(rounds)
        row = "".join(f"{1_000 * percentile(seconds, p):>11.1f}" for p in (50, 99, 100))
        lines.append(f"{name:<28}{row}{len(seconds):>10}")
    lines += ["", f"{'DATABASE PATH':<28}{'messages/s':>11}{'min .. max':>17}"]
    for name, paths in what.database_path.items():
        between = f"{min(paths):,.0f} .. {max(paths):,.0f}"
        lines.append(f"{name:<28}{statistics.median(paths):>11,.0f}{between:>17}")
    largest = what.large_backlog or what.end_to_end["service"][-1]
    memory = _shown(largest.peak_memory_mib, 0, 0)
    lines += ["", f"peak memory of the service at a backlog of {largest.messages:,} messages: {memory} MiB"]
    lines += ["", "RATIOS"]
    lines += [f"{name:<52}{_shown_ratio(quotients, name)}" for name in RATIOS]
    return "\n".join(lines)


def _end_to_end(runs: list[Run]) -> Figures:
    return {
        "messages": runs[0].messages,
        "balance_changes": runs[0].changes,
        "messages_per_second": spread((run.messages_per_second for run in runs), digits=0),
        "balance_changes_per_second": spread((run.changes / run.seconds for run in runs), digits=0),
        "cpu_seconds_per_thousand_messages": {
            part: _median(_cpu(runs, part)) for part in ("service", "postgres", "kafka")
        },
        "peak_memory_mib": _median([run.peak_memory_mib for run in runs]),
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


def _cpu(runs: list[Run], part: str) -> list[float | None]:
    return [run.cpu_seconds_per_thousand[part] for run in runs]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 4) if known else None


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else round(one / other, 3)


def _shown(value: float | None, width: int, digits: int = 3) -> str:
    return f"{'-' if value is None else f'{value:,.{digits}f}':>{width}}"


def _shown_ratio(quotients: Figures, name: str) -> str:
    value = quotients[name]
    return f"{value:>8}" if value is not None else f"       - {quotients[f'{name}_reason']}"

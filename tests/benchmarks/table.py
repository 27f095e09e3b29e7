"""What was measured, in a form to be read on a screen."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.cost import PARTS
from benchmarks.results import FIGURES, RATIOS, Figures, Measured, median, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.results import Run, Target

REACHED = {True: "reached", False: "missed"}


def table(what: Measured, figures: Figures, ratios: Figures) -> str:
    """All of it, the ratios last."""
    return "\n".join(
        [
            *_runs("END TO END", what.end_to_end),
            *_runs("OF THE SERVICE", what.of_the_service | {"replay": [one.run for one in what.replays]}),
            *_latencies("LONE EVENT", what.lone_event_seconds),
            *_latencies(
                "AT HALF LOAD",
                {
                    f"{name}, {statistics.median(one.rate for one in rounds):,.0f} a second": [
                        r.seconds for r in rounds
                    ]
                    for name, rounds in what.under_load.items()
                },
            ),
            *_paths(what),
            "",
            *_storage(what, figures),
            "",
            "RATIOS",
            *(_ratio(name, target, ratios) for name, target in RATIOS.items()),
        ]
    )


def _runs(title: str, rows: dict[str, list[Run]]) -> Iterator[str]:
    yield ""
    yield (
        f"{title:<28}{'messages/s':>11}{'min .. max':>17}   CPU s/1,000: service postgres kafka"
        f"{'peak MiB':>11}{'WAL bytes':>11}"
    )
    for name, runs in rows.items():
        rates = [run.messages_per_second for run in runs]
        cpu = "".join(_shown(median(run.cpu_seconds_per_thousand[part] for run in runs), 9) for part in PARTS)
        memory = _shown(median(run.peak_memory_mib for run in runs), 10, 0)
        wal = _shown(median(run.wal_bytes / run.messages for run in runs), 11, 0)
        yield f"{name:<28}{_rate(rates)}{'':13}{cpu}{memory}{wal}"


def _latencies(title: str, rows: dict[str, list[list[float]]]) -> Iterator[str]:
    yield ""
    yield f"{title:<40}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'samples':>9}"
    for name, rounds in rows.items():
        seconds = [second for one in rounds for second in one]
        yield f"{name:<40}{''.join(f'{1_000 * percentile(seconds, p):>9.1f}' for p in (50, 99, 100))}{len(seconds):>9}"


def _paths(what: Measured) -> Iterator[str]:
    yield ""
    yield f"{'DATABASE PATH':<28}{'messages/s':>11}{'min .. max':>17}"
    for name, rates in what.database_path.items():
        yield f"{name:<28}{_rate(rates)}"
    yield f"statements of a batch of {what.statements['messages']:,} messages: {what.statements['statements']}"


def _storage(what: Measured, figures: Figures) -> Iterator[str]:
    stored = statistics.median(one.bytes_per_message for one in what.stored)
    yield f"bytes stored a message: {stored:,.0f}{_against(FIGURES['bytes_stored_per_event'], stored)}"
    memory, messages = figures["service_peak_memory_mib"], figures["service_peak_memory_at_messages"]
    shown = f"peak memory of the service at a backlog of {messages:,} messages: {memory} MiB"
    yield shown + _against(FIGURES["service_peak_memory_mib"], memory)


def _ratio(name: str, target: Target | None, ratios: Figures) -> str:
    value = ratios[name]
    if value is None:
        return f"{name:<50}{'-':>9}   {ratios[f'{name}_reason']}"
    return f"{name:<50}{value:>9}{_against(target, value)}"


def _against(target: Target | None, value: object) -> str:
    if target is None or not isinstance(value, int | float):
        return ""
    return f"   target {target!s:<7} {REACHED[target.reached(value)]}"


def _rate(rates: Iterable[float]) -> str:
    known = list(rates)
    return f"{statistics.median(known):>11,.0f}{f'{min(known):,.0f} .. {max(known):,.0f}':>17}"


def _shown(value: float | None, width: int, digits: int = 3) -> str:
    return f"{'-' if value is None else f'{value:,.{digits}f}':>{width}}"

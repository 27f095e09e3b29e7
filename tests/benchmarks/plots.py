"""Pictures of one run of the bench, from what its `results.json` holds. What was not measured is left out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, TypeAlias

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

# JSON; its parts may be missing.
Results: TypeAlias = "dict[str, object]"
# Settings, as matplotlib takes them.
Look: TypeAlias = "dict[Any, Any]"

WIDTH_INCHES = 8.5
ROW_INCHES = 0.42
# Apart in grey as well.
DARK, MIDDLE, LIGHT, EDGE = "#1f3f66", "#8aa5c6", "#e4e9ef", "#333333"
STYLE: Look = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": "#cccccc",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    # The same results make the same file.
    "svg.hashsalt": "bench",
}
RUN: Look = {"linestyle": "", "marker": "o", "markersize": 4, "color": "white", "markeredgecolor": "black"}
LABELS = {
    "service": "the service",
    "service_2_processes": "the service, 2 processes",
    "service_4_processes": "the service, 4 processes",
    "floor": "the floor: COPY and produce, no logic",
    "faststream_handler": "a FastStream handler per message",
    "one_transaction_pool_8": "one transaction per event, pool of 8",
    "one_transaction_pool_16": "one transaction per event, pool of 16",
    "mix": "the mix",
    "hot_account": "all of the mix on one account",
    "charges_only": "charges only",
    "declines_only": "declines only",
    "replay": "replay of what is decided",
}


def draw(results: Results, out: Path) -> list[Path]:
    """Draws each plot that there is something for, as SVG and as PNG; returns the files."""
    drawn = []
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            figure = Figure(layout="constrained")
            if plot(figure, results):
                figure.supxlabel(_caption(results), fontsize=7.5, x=0.01, ha="left", color=EDGE)
                for kind in ("svg", "png"):
                    drawn.append(out / f"{name}.{kind}")
                    figure.savefig(drawn[-1], dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return drawn


# --- the plots; each says whether there was anything to draw


def _rates(figure: Figure, results: Results) -> bool:
    rows = _part(results, "figures", "end_to_end")
    return _bars(figure, _service_first(rows), "End to end: messages worked off a second (longer is better)")


def _rates_of_the_service(figure: Figure, results: Results) -> bool:
    others = _part(results, "figures", "of_the_service") | {"replay": _part(results, "figures", "replay")}
    if not any(others.values()):
        return False
    rows = {"mix": _part(results, "figures", "end_to_end", "service"), **others}
    return _bars(figure, rows, "The service on other backlogs: messages worked off a second (longer is better)")


def _bars(figure: Figure, rows: Results, title: str) -> bool:
    """A bar to each median, a dot for each run."""
    rates = {name: told for name in rows if (told := _part(rows, name, "messages_per_second"))}
    if not rates:
        return False
    axes = _row_axes(figure, list(rates), title, "messages a second; bars: medians, dots: single runs")
    for row, (name, told) in enumerate(rates.items()):
        median, runs = _number(told, "median") or 0.0, _numbers(told, "runs")
        axes.barh(row, median, height=0.6, color=LIGHT if _is_yardstick(name) else DARK, edgecolor=EDGE)
        axes.plot(runs, [row] * len(runs), **RUN)
        _tell(axes, f"{median:,.0f}", max([median, *runs]), row)
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return True


CPU_PARTS = {
    "service": ("the contender itself", DARK, ""),
    "postgres": ("Postgres", MIDDLE, ""),
    "kafka": ("Kafka", LIGHT, "////"),
}


def _cpu(figure: Figure, results: Results) -> bool:
    rows = _service_first(_part(results, "figures", "end_to_end"))
    seconds = {name: told for name in rows if (told := _part(rows, name, "cpu_seconds_per_thousand_messages"))}
    if not seconds:
        return False
    title = "CPU seconds that a thousand messages take (shorter is better)"
    axes = _row_axes(figure, list(seconds), title, "CPU seconds per thousand messages, medians")
    ends = [0.0] * len(seconds)
    for part, (label, color, hatch) in CPU_PARTS.items():
        its = [_number(told, part) or 0.0 for told in seconds.values()]
        look: Look = {"height": 0.6, "color": color, "hatch": hatch, "edgecolor": EDGE}
        axes.barh(range(len(its)), its, left=ends, label=label, **look)
        ends = [end + more for end, more in zip(ends, its, strict=True)]
    for row, end in enumerate(ends):
        _tell(axes, f"{end:.3f}", end, row)
    axes.margins(x=0.12)
    _legend_above(axes)
    return True


MARKS = {"p50_ms": ("p50", "o", DARK), "p99_ms": ("p99", "s", MIDDLE), "max_ms": ("largest", "D", "white")}


def _latency(figure: Figure, results: Results) -> bool:
    rows = {}
    for kind, load in (("lone_event_latency", "a lone event"), ("latency_at_half_load", "at half load")):
        for name, told in _part(results, "figures", kind).items():
            rate = _number(told, "messages_per_second", "median")
            label = f"{LABELS.get(name, name).partition(':')[0]}, {load}" + (f", {rate:,.0f}/s" if rate else "")
            found = {"p50_ms": _number(told, "p50_ms", "all"), "p99_ms": _number(told, "p99_ms", "all")}
            rows[label] = found | {"max_ms": _number(told, "max_ms")}
    known = {label: {mark: v for mark, v in told.items() if v} for label, told in rows.items() if any(told.values())}
    if not known:
        return False
    title = "From sending an event until its change can be read (further left is better)"
    axes = _row_axes(figure, list(known), title, "milliseconds, logarithmic; beside the marks: p50, p99, largest")
    for row, told in enumerate(known.values()):
        axes.plot(list(told.values()), [row] * len(told), color=EDGE, linewidth=1)
        _tell(axes, ", ".join(f"{value:,.1f}" for value in told.values()), max(told.values()), row)
    for depth, (mark, (label, shape, color)) in enumerate(MARKS.items()):
        points = [(told[mark], row) for row, told in enumerate(known.values()) if mark in told]
        look: Look = {"linestyle": "", "marker": shape, "markersize": 8, "color": color, "markeredgecolor": EDGE}
        axes.plot(*zip(*points, strict=True), label=label, zorder=5 - depth, **look)
    values = [value for told in known.values() for value in told.values()]
    # The text beside the last mark takes room on the right.
    _log_axis(axes, min(values) / 1.5, max(values) * (max(values) / min(values)) ** 0.35 * 1.3)
    _legend_above(axes)
    return True


def _ratios(figure: Figure, results: Results) -> bool:
    """How many times its target each ratio is, turned over where less is better: all is reached on the right."""
    targets, ratios = _part(results, "targets"), _part(results, "ratios")
    rows = [(name, str(target), _number(ratios, name)) for name, target in targets.items() if name in ratios]
    times = [_times(target, value) for _, target, value in rows if value]
    if not times:
        return False
    labels = [f"{name.replace('_', ' ')}   {_in_print(target)}" for name, target, _ in rows]
    x_label = "times the target; its inverse where less is better"
    axes = _row_axes(figure, labels, "Ratios and their targets (right of the line: reached)", x_label)
    axes.axvline(1, color="black", linewidth=1.5)
    for row, (_, target, value) in enumerate(rows):
        if not value:
            _tell(axes, "not measured", 1, row)
            continue
        at = _times(target, value)
        look: Look = {"markersize": 9, "markeredgecolor": EDGE}
        axes.plot([1, at], [row, row], color=EDGE, linewidth=1)
        if at >= 1:
            axes.plot(at, row, "o", color=DARK, **look)
            _tell(axes, f"{value:g}, reached", at, row)
        else:
            axes.plot(at, row, "X", color="white", **look)
            _tell(axes, f"{value:g}, missed", at, row, is_left=True)
    _log_axis(axes, min([*times, 1]) / 4, max([*times, 1]) * 2.5)
    return True


def _times(target: str, value: float) -> float:
    sign, limit = target.split()
    return value / float(limit) if sign == ">=" else float(limit) / value


def _in_print(target: str) -> str:
    return target.replace(">=", "≥").replace("<=", "≤")


PROCESSES = {1: "service", 2: "service_2_processes", 4: "service_4_processes"}


def _processes(figure: Figure, results: Results) -> bool:
    rows = {n: _part(results, "figures", "end_to_end", name, "messages_per_second") for n, name in PROCESSES.items()}
    medians = {n: median for n, told in rows.items() if (median := _number(told, "median"))}
    if not {1, 2} <= medians.keys():
        return False
    one, cores = medians[1], _number(results, "machine", "cores")
    figure.set_size_inches(WIDTH_INCHES, 4.5)
    figure.suptitle("Several processes of the service: messages a second (higher is better)", x=0.01, ha="left")
    axes = figure.add_subplot(
        xlabel=f"processes; {cores:g} cores, which the servers use as well" if cores else "processes",
        ylabel="messages a second, end to end",
        xticks=list(medians),
        xlim=(0.5, max(medians) + 0.7),
    )
    axes.grid(axis="x", visible=False)
    axes.grid(axis="y")
    axes.plot(list(medians), [one * n for n in medians], "--", color=EDGE, linewidth=1, label="one process, times n")
    axes.plot(list(medians), list(medians.values()), "-o", color=DARK, markersize=9, label="medians")
    runs = [(n, rate) for n in medians for rate in _numbers(rows[n], "runs")]
    axes.plot(*zip(*runs, strict=True), label="single runs", **RUN)
    for n, median in medians.items():
        lowest = min([median, *_numbers(rows[n], "runs")])
        told = f"{median:,.0f}" + (f"\n{median / one:.2f} times one" if n > 1 else "")
        axes.annotate(told, (n, lowest), (0, -10), textcoords="offset points", ha="center", va="top", fontsize=9)
    axes.set_ylim(0)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(loc="upper left")
    return True


PLOTS = {
    "rates": _rates,
    "rates_of_the_service": _rates_of_the_service,
    "cpu": _cpu,
    "latency": _latency,
    "ratios": _ratios,
    "processes": _processes,
}


# --- what they have in common


def _row_axes(figure: Figure, names: Sequence[str], title: str, x_label: str) -> Axes:
    """Axes with a row for each name, the first at the top."""
    figure.set_size_inches(WIDTH_INCHES, 1.7 + ROW_INCHES * len(names))
    figure.suptitle(title, x=0.01, ha="left")
    axes = figure.add_subplot(xlabel=x_label, ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), [LABELS.get(name, name) for name in names])
    axes.tick_params(axis="y", length=0)
    return axes


def _tell(axes: Axes, what: str, x: float, row: int, *, is_left: bool = False) -> None:
    """A text beside a mark."""
    side: Look = {"xytext": (-9, 0), "ha": "right"} if is_left else {"xytext": (9, 0), "ha": "left"}
    axes.annotate(what, (x, row), textcoords="offset points", va="center", fontsize=9, **side)


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)


def _log_axis(axes: Axes, lowest: float, highest: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(lowest, highest)
    ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if lowest <= tick <= highest]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _service_first(rows: Results) -> Results:
    return {name: rows[name] for name in sorted(rows, key=_is_yardstick)}


def _is_yardstick(name: str) -> bool:
    return name.startswith(("floor", "one_transaction", "faststream"))


def _caption(results: Results) -> str:
    """The machine and the mode."""
    machine, versions = _part(results, "machine"), _part(results, "machine", "versions")
    told = [f"{results.get('mode', 'unknown')} mode", f"{machine.get('model', 'unknown processor')}"]
    told += [
        f"{machine[name]}{unit}" for name, unit in (("cores", " cores"), ("memory_gib", " GiB")) if name in machine
    ]
    told += [f"{name.capitalize()} {versions[name]}" for name in ("postgres", "kafka", "python") if name in versions]
    return textwrap.fill(", ".join(told), 125)


def _at(results: object, names: Sequence[str]) -> object:
    for name in names:
        results = results.get(name) if isinstance(results, dict) else None
    return results


def _part(results: object, *names: str) -> Results:
    """What lies under these names; nothing where it was not measured."""
    found = _at(results, names)
    return found if isinstance(found, dict) else {}


def _number(results: object, *names: str) -> float | None:
    found = _at(results, names)
    return float(found) if isinstance(found, int | float) else None


def _numbers(results: Results, name: str) -> list[float]:
    found = results.get(name)
    return [float(value) for value in found] if isinstance(found, list) else []

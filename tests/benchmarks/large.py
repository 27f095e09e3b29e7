"""Whether an event costs more where there is much already: many accounts, and a ledger of many entries.

A large state is filled once, and each repetition makes it a little larger; the small one beside it is filled anew each
time. They take turns, on backlogs of as many events, without plans. `python -m benchmarks.large` measures this alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.contenders import SERVICE
from benchmarks.deployment import Workshop
from benchmarks.end_to_end import work_off_in
from benchmarks.large_state import STATEMENT_SECONDS_MAX, Filled, State, fill
from benchmarks.mix import Mix
from benchmarks.results import spread
from credit_local_stack import Addresses

if TYPE_CHECKING:
    from benchmarks.deployment import Deployment
    from benchmarks.results import Figures, Run


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large is large; `events` come to each state in each repetition.

    Twenty million entries, with what belongs to them, take about 20 GB of disk and seven minutes to be filled in: that
    is five times what four million took on two cores that others used as well.
    """

    repetitions: int = 3
    events: int = 50_000
    accounts_many: int = 1_000_000
    accounts_few: int = 1_000
    ledger_entries: int = 20_000_000
    ledger_accounts: int = 5_000

    def shrunk(self, percent: float) -> Sizes:
        """So much of the large states, and only some thousand events: whether all of this works."""
        return replace(
            self,
            events=min(self.events, 5_000),
            accounts_many=round(self.accounts_many * percent / 100),
            ledger_entries=round(self.ledger_entries * percent / 100),
        )


async def costs(workshop: Workshop, logs: Path, sizes: Sizes) -> dict[str, Figures]:
    """By the name of its ratio: the ratio of the seconds and of the CPU seconds an event, and what it is made of."""
    charges_each = sizes.ledger_entries // sizes.ledger_accounts - 1
    pairs = {
        "accounts_1m_to_1k_cost": (State(sizes.accounts_many), State(sizes.accounts_few)),
        "ledger_20m_to_empty_cost": (State(sizes.ledger_accounts, charges_each), State(sizes.ledger_accounts)),
    }
    return {
        name: await _cost(workshop, logs, name, Side("large", large), Side("small", small), sizes)
        for name, (large, small) in pairs.items()
    }


class FilledMix(Mix):
    """The mix on accounts that are there; at first, all that bounces or is exported again is of the fill.

    Nothing bounces twice, so each of the repetitions has its own part of that.
    """

    def __init__(self, filled: Filled, repetition: int, repetitions: int) -> None:
        super().__init__(accounts=0, seed=1_000 + repetition)
        self._accounts = filled.accounts
        self._charged = filled.charged[repetition::repetitions]


@dataclass(slots=True)
class Side:
    """One of the two states that are compared, and what was measured on it."""

    name: str
    state: State
    fills: list[Filled] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def cpu(self) -> list[float]:
        """Of all parts together, a run; nothing where a server's is not known."""
        totals = [list(run.cpu_seconds_per_thousand.values()) for run in self.runs]
        return [sum(known) for parts in totals if len(known := [p for p in parts if p is not None]) == len(parts)]

    def seconds(self) -> list[float]:
        """Of a thousand events, a run."""
        return [run.seconds / run.messages * 1_000 for run in self.runs]

    def figures(self) -> Figures:
        """All of it, as it is written down."""
        return {
            **asdict(self.state),
            "entries": self.state.entries,
            "fill_seconds": round(self.fills[0].seconds, 1),
            "filled_bytes": self.fills[0].bytes,
            "events_each_run": self.runs[0].messages,
            "seconds_per_thousand_events": spread(self.seconds(), digits=4),
            "cpu_seconds_per_thousand_events": spread(self.cpu(), digits=4) if self.cpu() else None,
            "cpu_seconds_by_part": [run.cpu_seconds_per_thousand for run in self.runs],
            "wal_bytes_per_event": spread((run.wal_bytes / run.messages for run in self.runs), digits=0),
        }


async def _cost(workshop: Workshop, logs: Path, name: str, large: Side, small: Side, sizes: Sizes) -> Figures:
    kept = workshop.place("")
    async with workshop.database(kept, None):
        large.fills.append(await fill(kept.database_url, large.state))
        _say(f"{name}: {large.state.entries:,} entries filled in, {large.fills[0].seconds:,.0f} s")
        for repetition in range(sizes.repetitions):
            for side in (large, small) if repetition % 2 == 0 else (small, large):
                log = logs / f"{name}-{side.name}-{repetition + 1}.log"
                if side is large:
                    await _work_off(workshop, kept, side, sizes, log)
                else:
                    place = workshop.place("")
                    async with workshop.database(place, None):
                        side.fills.append(await fill(place.database_url, side.state))
                        await _work_off(workshop, place, side, sizes, log)
                _say(f"{name}, {side.name}, {repetition + 1}: {side.seconds()[-1]:.3f} s a thousand events")
    return {
        "ratio": _ratio(large.seconds(), small.seconds()),
        "cpu_ratio": _ratio(large.cpu(), small.cpu()),
        "large": large.figures(),
        "small": small.figures(),
    }


async def _work_off(workshop: Workshop, place: Deployment, side: Side, sizes: Sizes, log: Path) -> None:
    """One more run on a filled database, from topics of its own."""
    mix = FilledMix(side.fills[-1], len(side.runs), sizes.repetitions)
    backlog = await workshop.backlog([], mix.events(sizes.events))
    connection = await asyncpg.connect(place.database_url, command_timeout=STATEMENT_SECONDS_MAX)
    try:
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    at_new_topics = replace(place, topic_prefix=backlog.topic_prefix, group_id=log.stem + backlog.topic_prefix)
    side.runs.append(await work_off_in(at_new_topics, SERVICE, backlog, log))


def _ratio(one: list[float], other: list[float]) -> float | None:
    return round(statistics.median(one) / statistics.median(other), 3) if one and other else None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - talk, beside what is measured


async def _alone(out: Path, sizes: Sizes) -> None:
    addresses = Addresses.given(os.environ)
    if addresses is None:
        raise SystemExit("both addresses are wanted in the environment; `credits-stack run` gives them")
    workshop = Workshop(addresses)
    try:
        await workshop.start()
        measured = await costs(workshop, out, sizes)
    finally:
        await workshop.close()
    (out / "large.json").write_text(json.dumps(measured, indent=2) + "\n")
    _say("\n".join(f"{name}: {told['ratio']}, of CPU seconds {told['cpu_ratio']}" for name, told in measured.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--percent", type=float, default=100, help="so much of the large states, with fewer events")
    parser.add_argument("--out", type=Path, required=True, help="the folder for large.json and the logs")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    # It says of each partition of a new topic that it has no leader yet.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    asyncio.run(_alone(given.out, Sizes() if given.percent == 100 else Sizes().shrunk(given.percent)))

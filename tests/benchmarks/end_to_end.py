"""A contender works off a backlog: from when it begins to consume until the last event it brings about is readable."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.contenders import running
from benchmarks.cost import CpuMeter, peak_memory_mib
from benchmarks.results import Run
from benchmarks.storage import wal_written
from benchmarks.watch import watching

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from benchmarks.contenders import Contender
    from benchmarks.deployment import Backlog, Deployment, Workshop

    Look = Callable[[], None]
    # Waits for the end of a run, and says when it was; calls `Look` meanwhile.
    Ended = Callable[[Look], Awaitable[float]]

RUN_SECONDS_MAX = 300


async def work_off(
    workshop: Workshop, contender: Contender, backlog: Backlog, log: Path, seconds_max: float = RUN_SECONDS_MAX
) -> Run:
    """One run in a database of its own, which is dropped afterwards."""
    place = workshop.place(backlog.topic_prefix)
    async with workshop.database(place, contender.schema):
        return await work_off_in(place, contender, backlog, log, seconds_max)


async def work_off_in(
    place: Deployment, contender: Contender, backlog: Backlog, log: Path, seconds_max: float = RUN_SECONDS_MAX
) -> Run:
    """One run in the database of `place`, which stays."""
    published = {topic: events for topic, events in backlog.published.items() if events}
    async with watching(place, published) as watch:

        async def all_readable(look: Look) -> float:
            return await watch.until(sum(published.values()), seconds_max, look)

        run = await clocked(place, contender, backlog, log, all_readable)
    return replace(run, changes=backlog.changes, published_bytes=watch.bytes_read)


async def clocked(place: Deployment, contender: Contender, backlog: Backlog, log: Path, ended: Ended) -> Run:
    """Runs the contender; the clocks go from when it begins to consume until `ended` returns."""
    wal_before = await wal_written(place)
    async with running(contender, place, log) as members:
        meter = CpuMeter(members.pids)

        def look() -> None:
            members.check()
            meter.note()

        begin = await members.opened(meter.note)
        meter.note(at_once=True)
        end = await ended(look)
        meter.note(at_once=True)
        memory = peak_memory_mib(members.pids)
    # Read after its end, so that its last clean-up is among it.
    wal = (await wal_written(place)).since(wal_before)
    return Run(
        messages=backlog.messages,
        began=begin,
        seconds=end - begin,
        cpu_seconds_per_thousand=meter.spent(begin, end, backlog.messages),
        peak_memory_mib=memory,
        wal_bytes=wal.bytes,
        wal_page_images=wal.page_images,
    )

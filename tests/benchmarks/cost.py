"""What a run costs: CPU seconds of the contender and of both servers, and the contender's memory."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable

SUPERVISOR = "credit_local_stack.supervisor"
SNAPSHOT_EVERY_SECONDS = 0.25
PARTS = ("service", "postgres", "kafka")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds since the processes began; a server's are None where it is not this stack's own."""

    service: float
    postgres: float | None
    kafka: float | None

    def since(self, before: Cpu, events: int) -> dict[str, float | None]:
        """Seconds a thousand events."""
        return {
            part: None if now is None or then is None else round((now - then) / events * 1_000, 4)
            for part, now, then in zip(PARTS, self._clocks(), before._clocks(), strict=True)
        }

    def towards(self, later: Cpu, share: float) -> Cpu:
        """What the clocks showed in between, if they ran evenly."""
        service, postgres, kafka = (
            None if now is None or then is None else then + (now - then) * share
            for then, now in zip(self._clocks(), later._clocks(), strict=True)
        )
        return Cpu(service or 0.0, postgres, kafka)

    def _clocks(self) -> tuple[float, float | None, float | None]:
        return self.service, self.postgres, self.kafka


class CpuMeter:
    """Reads the clocks of one contender and of the servers, found from the process that started this one."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._contender = [psutil.Process(pid) for pid in pids]
        self._servers = _servers()
        self._snapshots: list[tuple[float, Cpu]] = []

    def note(self, *, at_once: bool = False) -> None:
        """Reads the clocks, not too often unless it is wanted at once."""
        now = time.time()
        if at_once or not self._snapshots or now - self._snapshots[-1][0] >= SNAPSHOT_EVERY_SECONDS:
            self._snapshots.append((now, self._read()))

    def spent(self, begin: float, end: float, events: int) -> dict[str, float | None]:
        """CPU seconds a thousand events, between these two times."""
        return self._at(end).since(self._at(begin), events)

    def _at(self, time_wanted: float) -> Cpu:
        for (before, earlier), (after, later) in pairwise(self._snapshots):
            if before <= time_wanted <= after:
                return earlier.towards(later, (time_wanted - before) / max(after - before, 1e-9))
        return self._snapshots[0 if time_wanted < self._snapshots[0][0] else -1][1]

    def _read(self) -> Cpu:
        servers = (self._seconds_of(name) for name in ("postgres", "java"))
        return Cpu(sum(map(_seconds, self._contender)), *servers)

    def _seconds_of(self, name: str) -> float | None:
        return _seconds(self._servers[name]) if name in self._servers else None


def _seconds(root: psutil.Process) -> float:
    """Of a process and all its children, those included that ended and that it has waited for."""
    times = root.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in root.children(recursive=True):
        try:
            its = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += its.user + its.system
    return float(total)


def _servers() -> dict[str, psutil.Process]:
    """The servers are children of the supervisor, which is a child of whoever started the bench as well."""
    parent = psutil.Process(os.getpid()).parent()
    siblings = parent.children() if parent else []
    supervisors = [process for process in siblings if SUPERVISOR in process.cmdline()]
    return {child.name(): child for supervisor in supervisors for child in supervisor.children()}


def peak_memory_mib(pids: Iterable[int]) -> float | None:
    """The most that the processes had in memory so far, added up; None where there is no /proc."""
    peaks = []
    for pid in pids:
        status = Path(f"/proc/{pid}/status")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE) if status.exists() else None
        if found is None:
            return None
        peaks.append(int(found[1]) / 1024)
    return round(sum(peaks), 1)

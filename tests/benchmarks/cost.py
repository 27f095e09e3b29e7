"""What a run costs: CPU seconds of the service and of both servers, and the service's memory."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

SUPERVISOR = "credit_local_stack.supervisor"
SNAPSHOT_EVERY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds since the processes began; a server's are None where it is not this stack's own."""

    service: float
    postgres: float | None
    kafka: float | None

    def since(self, before: Cpu, events: int) -> dict[str, float | None]:
        """Seconds a thousand events."""
        return {
            name: None if now is None or then is None else round((now - then) / events * 1_000, 4)
            for name, now, then in (
                ("service", self.service, before.service),
                ("postgres", self.postgres, before.postgres),
                ("kafka", self.kafka, before.kafka),
            )
        }


class CpuMeter:
    """Reads the clocks of one contender and of the servers, found from the process that started this one."""

    def __init__(self, pid: int) -> None:
        self._service = psutil.Process(pid)
        self._servers = _servers()
        self._snapshots: list[tuple[float, Cpu]] = []

    def note(self) -> None:
        """Reads the clocks, not too often."""
        now = time.time()
        if not self._snapshots or now - self._snapshots[-1][0] >= SNAPSHOT_EVERY_SECONDS:
            self._snapshots.append((now, self._read()))

    def spent(self, begin: float, end: float, events: int) -> dict[str, float | None]:
        """CPU seconds a thousand events, between the last reading before `begin` and the first one after `end`."""
        before = [cpu for at, cpu in self._snapshots if at <= begin] or [self._snapshots[0][1]]
        after = [cpu for at, cpu in self._snapshots if at >= end] or [self._snapshots[-1][1]]
        return after[0].since(before[-1], events)

    def _read(self) -> Cpu:
        return Cpu(_seconds(self._service), *(self._seconds_of(name) for name in ("postgres", "java")))

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


def peak_memory_mib(pid: int) -> float | None:
    """The most that the process had in memory so far; None where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    return round(int(found[1]) / 1024, 1) if found else None

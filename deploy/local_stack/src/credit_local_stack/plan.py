"""What a stack and its supervisor tell each other."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_REMOVALS_MAX = 100
_REMOVAL_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What a supervisor is to run; its first line of input."""

    data: str
    throwaway: bool
    postgres_binaries: str
    java: str
    class_path: list[str]
    kafka_heap_mib: int
    advertised_kafka_port: int | None

    def to_json(self) -> str:
        """Return the plan as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Plan:
        """Read what `to_json` wrote."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class State:
    """Where the servers are; a pid is None while its server does not run."""

    postgres_port: int
    postgres_pid: int | None
    kafka_port: int
    kafka_pid: int | None


def remove(folder: Path) -> None:
    """Remove a folder, also while a killed server's last children still write into it."""
    for _ in range(_REMOVALS_MAX):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVAL_PAUSE_SECONDS)

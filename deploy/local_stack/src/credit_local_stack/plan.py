"""What a stack and its supervisor tell each other."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_REMOVALS_MAX = 100
_REMOVAL_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """A broker that wants TLS and a login, and allows nobody but `admin` anything until it is told to.

    `keystore` is a PEM file with the broker's key, in PKCS 8, and its certificates; `ca` one with those that sign
    clients'. `users` are names with their passwords; `admin` is the super user among them. With `jwks`, a file of the
    keys that sign tokens, it takes tokens as well, for `audience`.
    """

    keystore: str
    ca: str
    admin: str
    users: dict[str, str] = field(repr=False)
    jwks: str | None = None
    audience: str = "kafka"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a supervisor is to run; its first line of input. Without `postgres_binaries`, Kafka alone."""

    data: str
    throwaway: bool
    postgres_binaries: str | None
    java: str
    class_path: list[str]
    kafka_heap_mib: int
    advertised_kafka_port: int | None
    kafka_security: KafkaSecurity | None = None
    kafka_rebalance_delay_ms: int = 0
    kafka_settings: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the plan as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Plan:
        """Read what `to_json` wrote."""
        plan = json.loads(line)
        if plan["kafka_security"] is not None:
            plan["kafka_security"] = KafkaSecurity(**plan["kafka_security"])
        return cls(**plan)


@dataclass(frozen=True, slots=True)
class State:
    """Where the servers are; a pid is None while its server does not run."""

    postgres_port: int
    postgres_pid: int | None
    kafka_port: int
    kafka_pid: int | None
    kafka_certificates_port: int = 0
    kafka_internal_port: int = 0


def remove(folder: Path) -> None:
    """Remove a folder, also while a killed server's last children still write into it."""
    for _ in range(_REMOVALS_MAX):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVAL_PAUSE_SECONDS)

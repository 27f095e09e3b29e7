"""Runs of `credits replay`, and messages that the service is made to skip."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from support.credits import environment, run_credits_after
from support.forked import Forked
from support.worked_off import commit_offsets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.service import Deployment
    from support.traffic import Sent

WHY = ("--reason", "a test", "--operator", "lee", "--yes")


@dataclass(frozen=True)
class Replayed:
    """One `credits replay`, at its end."""

    exit_code: int
    each: list[dict[str, Any]]
    summary: dict[str, Any]
    said: str


def settings_of(deployment: Deployment) -> dict[str, object]:
    return {
        "database_url": deployment.database_url,
        "kafka_bootstrap_servers": deployment.kafka,
        "kafka_group_id": deployment.group,
        "topic_prefix": deployment.prefix,
    }


async def replay(deployment: Deployment, *arguments: str, first: str = "", **settings: object) -> Replayed:
    """`first` is Python that the process executes before the command begins."""
    done = await asyncio.to_thread(
        run_credits_after,
        first,
        *("replay", "--output", "json", *arguments),
        folder=deployment.folder,
        **settings_of(deployment) | settings,
    )
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summary = lines.pop() if lines else {}
    return Replayed(done.returncode, lines, summary, done.stderr)


def start_replay(deployment: Deployment, *arguments: str, first: str = "", **settings: object) -> Forked:
    """One that runs beside the test; `first` is Python that breaks some of its parts before it begins."""
    outputs = deployment.folder / f"replay-{secrets.token_hex(4)}"
    return Forked(
        *("replay", "--output", "json", *WHY, *arguments),
        environment=environment(**settings_of(deployment) | settings),
        folder=deployment.folder,
        stdout=outputs.with_suffix(".out"),
        stderr=outputs.with_suffix(".err"),
        first=first,
    )


async def pass_over(deployment: Deployment, sent: Iterable[Sent]) -> None:
    """Has a service that does not run believe that it has read these, and Kafka that it said so."""
    ends: dict[tuple[str, int], int] = {}
    for one in sent:
        ends[one.topic, one.partition] = max(ends.get((one.topic, one.partition), 0), one.offset + 1)
    connection = await asyncpg.connect(deployment.database_url)
    try:
        await connection.executemany(
            """INSERT INTO credits.partition_offsets (topic, partition, next_offset) VALUES ($1, $2, $3)
            ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset""",
            [(*place, end) for place, end in ends.items()],
        )
    finally:
        await connection.close()
    await deployment.forget_members()
    await commit_offsets(deployment, ends)

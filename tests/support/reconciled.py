"""A run of `credits reconcile` on a deployment."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.credits import COMMAND_SECONDS_MAX, run_credits_within

if TYPE_CHECKING:
    from support.service import Deployment


@dataclass(frozen=True)
class Run:
    """One `credits reconcile`."""

    exit_code: int
    findings: list[dict[str, Any]]
    summary: dict[str, Any]
    said: str

    @property
    def found(self) -> set[tuple[str, str]]:
        """Kind and subject of each, but for the dead letter that the traffic always has."""
        return {(f["kind"], f["subject"]) for f in self.findings if f["kind"] != "dead-letter-waiting"}


async def reconcile(
    deployment: Deployment,
    *arguments: str,
    first: str = "",
    within_seconds: float = COMMAND_SECONDS_MAX,
    **settings: object,
) -> Run:
    """`first` is Python that the command's process executes before it begins."""
    done = await asyncio.to_thread(
        run_credits_within,
        within_seconds,
        first,
        "reconcile",
        "--output",
        "json",
        *arguments,
        folder=deployment.folder,
        kafka_bootstrap_servers=deployment.kafka,
        kafka_group_id=deployment.group,
        topic_prefix=deployment.prefix,
        **({"database_url": deployment.database_url} | settings),
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summary = lines.pop()["summary"] if lines else {}
    return Run(done.returncode, lines, summary, done.stderr)

"""What was tampered with by hand is named, exactly, and nothing else; what may be mended is, and agrees again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from support.credits import run_credits
from support.observed import CHANGES, DECLINES, OUTGOING, read_topics
from support.traffic import random_traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


async def reconcile(deployment: Deployment, *arguments: str, **settings: object) -> Run:
    done = await asyncio.to_thread(
        run_credits,
        "reconcile",
        "--output",
        "json",
        *arguments,
        folder=deployment.folder,
        database_url=deployment.database_url,
        kafka_bootstrap_servers=deployment.kafka,
        kafka_group_id=deployment.group,
        topic_prefix=deployment.prefix,
        **settings,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summary = lines.pop()["summary"] if lines else {}
    return Run(done.returncode, lines, summary, done.stderr)


async def repaired(deployment: Deployment) -> Run:
    """A repair of all there is, with a service that publishes what it left in the outbox; the run after it."""
    mended = await reconcile(deployment, "--repair", "--yes", "--reason", "a test", "--operator", "lee")
    assert "Traceback" not in mended.said
    service = await deployment.start()
    await deployment.oracle().drained()
    assert await service.terminate() == 0
    return await reconcile(deployment)


@pytest.fixture
async def played(deployment: Deployment) -> Deployment:
    """A deployment that has decided some traffic, and is left alone."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(4, events=900))
    service = await deployment.start()
    await deployment.oracle().check()
    assert await service.terminate() == 0
    return deployment


@pytest.fixture
async def connection(deployment: Deployment) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(deployment.database_url)
    yield connection
    await connection.close()


async def test_what_agrees_is_told_so(played: Deployment) -> None:
    run = await reconcile(played)
    assert (run.exit_code, run.findings, run.said) == (0, [], "")
    compared = run.summary["compared"]
    observed = await played.oracle().observe()
    assert compared["messages"] == len(observed.incoming)
    assert compared["decisions"] == len(observed.decisions)
    assert compared["accounts"] == len(observed.accounts)
    assert compared["published"] == len(observed.outgoing[CHANGES]) + len(observed.outgoing[DECLINES])
    assert run.summary["could_not_tell"] == []

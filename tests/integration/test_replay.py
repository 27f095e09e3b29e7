"""`credits replay`: what went the way of events is left alone, what never went it is decided, once."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from credit_contracts import Event, IncomingData, PlanChanged, ProspectGenerated
from credit_service.application.replay import Pace
from support.credits import environment, run_credits
from support.observed import CHANGES, observe_ledger, read_topics
from support.service import CREDITS
from support.topics import admin, delete_records
from support.traffic import Sent, event, random_traffic, slices
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.service import Deployment

BEGAN = datetime.now(UTC) - timedelta(days=1)
WHY = ("--reason", "a test", "--operator", "lee", "--yes")
_minutes = count(1)


@dataclass(frozen=True)
class Run:
    """One `credits replay`."""

    exit_code: int
    each: list[dict[str, Any]]
    summary: dict[str, Any]
    said: str


def settings(deployment: Deployment) -> dict[str, object]:
    return {
        "database_url": deployment.database_url,
        "kafka_bootstrap_servers": deployment.kafka,
        "kafka_group_id": deployment.group,
        "topic_prefix": deployment.prefix,
    }


async def replay(deployment: Deployment, *arguments: str) -> Run:
    done = await asyncio.to_thread(
        run_credits, "replay", "--output", "json", *arguments, folder=deployment.folder, **settings(deployment)
    )
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summary = lines.pop() if lines else {}
    return Run(done.returncode, lines, summary, done.stderr)


def plan(account_id: str) -> Event[IncomingData]:
    return event(PlanChanged(account_id=account_id, plan_id="p", monthly_credits=10), BEGAN)


def generated(account_id: str, prospect_id: str, event_id: str | None = None) -> Event[IncomingData]:
    """Each a minute after the one before."""
    data = ProspectGenerated(account_id=account_id, prospect_id=prospect_id)
    return event(data, BEGAN + timedelta(minutes=next(_minutes)), event_id)


async def served(deployment: Deployment) -> None:
    """A service works off what there is, and ends."""
    service = await (await deployment.start()).ready()
    await deployment.oracle().drained()
    assert await service.terminate() == 0


async def pass_over(connection: Any, *sent: Sent) -> None:
    """Has the service believe that it has read these."""
    for one in sent:
        await connection.execute(
            """INSERT INTO credits.partition_offsets (topic, partition, next_offset) VALUES ($1, $2, $3)
            ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset""",
            one.topic,
            one.partition,
            one.offset + 1,
        )


@pytest.fixture
async def connection(deployment: Deployment) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(deployment.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def small(deployment: Deployment) -> Deployment:
    """Two accounts with a plan and a charge each, decided and published."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send([plan("acme"), plan("bolt"), generated("acme", "ann"), generated("bolt", "bob")])
    await served(deployment)
    return deployment


async def test_what_was_decided_has_no_second_effect(small: Deployment) -> None:
    before = await observe_ledger(small.database_url, small.prefix)
    run = await replay(small, *WHY)
    assert (run.exit_code, run.summary["fates"], run.summary["outcomes"]) == (0, {"duplicate": 4}, {})
    assert run.said == "4 messages of 2 topics, from the beginning to where the service has read\n"
    assert await observe_ledger(small.database_url, small.prefix) == before

"""Days of traffic and the ends of periods, played live and played as a backlog, come to the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData
from credit_local_stack import Addresses
from support.observed import CHANGES, DECLINES, Observed
from support.service import Deployment
from support.stack import fresh_database
from support.traffic import Upstream, random_traffic
from support.wait import eventually

CLOCK = """
CREATE TABLE public.clock (at timestamptz NOT NULL);
INSERT INTO public.clock VALUES ('{at}');
CREATE OR REPLACE FUNCTION credits.ledger_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT at FROM public.clock);
"""
# Timers wait so long for late messages.
GRACE = timedelta(seconds=10)
# Live, the first plan may come later than parked events are kept for; in a backlog it lies there to be seen.
PARKED_HOURS_MAX = "8784"
OF_RECORDING = ("decided_at", "recorded_at", "offset", "partition")


class Clock:
    """The ledger's, set by hand."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection

    async def set(self, at: datetime) -> None:
        await self._connection.execute("UPDATE public.clock SET at = $1", at)

    async def next_timer(self) -> datetime | None:
        at: datetime | None = await self._connection.fetchval("SELECT min(next_timer_at) FROM credits.accounts")
        return at

    async def taken_in(self) -> int:
        taken: int = await self._connection.fetchval(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM credits.partition_offsets"
        )
        return taken


def in_order_of_occurrence(seed: int) -> list[Event[IncomingData]]:
    """Forty days, each message once: live, nothing comes twice or late."""
    once = {(one.source, one.id): one for one in random_traffic(seed, accounts=4, events=160)}
    return sorted(once.values(), key=lambda one: one.time)


async def play_live(clock: Clock, upstream: Upstream, events: list[Event[IncomingData]]) -> None:
    """Each message is decided before the next one is sent, and each period ends when it does."""
    for number, one in enumerate(events, start=1):
        await let_timers_happen(clock, one.time)
        await clock.set(one.time)
        await upstream.send([one])
        await eventually(lambda expected=number: _has_taken_in(clock, expected))  # type: ignore[misc]


async def let_timers_happen(clock: Clock, until: datetime) -> None:
    while (due := await clock.next_timer()) is not None and due + GRACE < until:
        await clock.set(due + GRACE)
        await eventually(lambda before=due: _is_past(clock, before))  # type: ignore[misc]


async def _has_taken_in(clock: Clock, count: int) -> bool:
    return await clock.taken_in() >= count


async def _is_past(clock: Clock, instant: datetime) -> bool:
    due = await clock.next_timer()
    return due is None or due > instant


def told(observed: Observed) -> dict[str, Any]:
    """What must not depend on when it was decided."""
    return {
        "accounts": sorted(observed.accounts, key=lambda row: row["account_id"]),
        "decisions": [_timeless(row) for row in observed.decisions],
        "entries": [_timeless(row) for row in observed.entries],
        "grants": sorted(observed.grants, key=lambda row: (row["account_id"], row["grant_id"])),
        "published": {
            topic: sorted(
                (_timeless(message.data()) for message in observed.outgoing[topic]),
                key=lambda data: (data["account_id"], data.get("sequence", 0), data["occurred_at"]),
            )
            for topic in (CHANGES, DECLINES)
        },
    }


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OF_RECORDING}


@pytest.fixture
async def backlog_deployment(
    stack: Addresses, database_template: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """A second one, beside `deployment`."""
    folder = tmp_path / "backlog"
    folder.mkdir()
    with fresh_database(stack.database_url, database_template) as url:
        async with Deployment(url, stack.bootstrap_servers, f"b{topic_prefix}", folder) as deployment:
            yield deployment


async def test_live_and_backlog_come_to_the_same(deployment: Deployment, backlog_deployment: Deployment) -> None:
    events = in_order_of_occurrence(29)
    end = datetime.now(UTC)
    seen = []
    for each in (deployment, backlog_deployment):
        await each.make_topics()
        connection = await asyncpg.connect(each.database_url)
        try:
            is_live = each is deployment
            await connection.execute(CLOCK.format(at=(events[0].time if is_live else end).isoformat()))
            clock = Clock(connection)
            async with each.upstream() as upstream:
                if is_live:
                    service = await (await each.start(parked_hours_max=PARKED_HOURS_MAX)).ready()
                    await play_live(clock, upstream, events)
                    await let_timers_happen(clock, end)
                    await clock.set(end)
                else:
                    await upstream.send(events)
                    service = await each.start(parked_hours_max=PARKED_HOURS_MAX)
                    await eventually(lambda: _has_taken_in(clock, len(events)))  # noqa: B023 - waited for here
                    await let_timers_happen(clock, end)
            seen.append(await each.oracle().check())
            assert await service.terminate() == 0
        finally:
            await connection.close()
    live, backlog = map(told, seen)
    for name, as_live in live.items():
        assert backlog[name] == as_live, name
    assert {d["outcome"] for d in live["decisions"]} >= {"charged", "declined", "refunded", "renewed"}

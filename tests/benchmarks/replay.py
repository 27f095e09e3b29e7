"""The same topics once more, on a ledger that has decided all of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.contenders import SERVICE, logged_at
from benchmarks.end_to_end import clocked
from benchmarks.watch import POLL_SECONDS, TooSlow, watching
from credit_contracts.topics import OUTGOING_TOPICS

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.deployment import Backlog, Deployment
    from benchmarks.end_to_end import Look
    from benchmarks.results import Run

REPLAY_SECONDS_MAX = 300
STATEMENT_SECONDS_MAX = 60

# The service logs it after each commit.
BATCH = "batch"
READ_SO_FAR = "SELECT sum(next_offset)::bigint FROM credits.partition_offsets"
# The topics were made for the bench: they begin at 0.
READ_AGAIN = "UPDATE credits.partition_offsets SET next_offset = 0"
DECIDED = "SELECT count(*) FROM credits.decisions"


@dataclass(frozen=True, slots=True)
class Replay:
    """The run, and how long the live run before it took until its last batch was stored, which is their common end."""

    run: Run
    live_seconds: float


async def replay(place: Deployment, backlog: Backlog, live: Run, live_log: Path, log: Path) -> Replay:
    """Sets the stored offsets back and measures until they have come to the ends again; checks that nothing came of it.

    To be called after a live run in the same database, with the service stopped; `live_log` is the log of that run.
    """
    connection = await asyncpg.connect(place.database_url, command_timeout=STATEMENT_SECONDS_MAX)
    try:
        if await connection.fetchval(READ_SO_FAR) != backlog.messages:
            raise AssertionError("the live run has not read all of its backlog")
        decided = await connection.fetchval(DECIDED)
        await connection.execute(READ_AGAIN)
        await connection.execute("CHECKPOINT")
        async with watching(place, OUTGOING_TOPICS) as watch:

            async def all_read(look: Look) -> float:
                return await _all_read(connection, backlog.messages, look)

            run = await clocked(place, SERVICE, backlog, log, all_read)
            if await watch.ends() != watch.begins or await connection.fetchval("SELECT EXISTS (TABLE credits.outbox)"):
                raise AssertionError("a replay has published something")
        if await connection.fetchval(DECIDED) != decided:
            raise AssertionError("a replay has decided something")
        return Replay(run, logged_at(live_log, BATCH)[-1] - live.began)
    finally:
        await connection.close()


async def _all_read(connection: asyncpg.Connection[asyncpg.Record], messages: int, look: Look) -> float:
    """When the stored offsets have come to the ends."""
    deadline = time.time() + REPLAY_SECONDS_MAX
    while time.time() < deadline:
        if await connection.fetchval(READ_SO_FAR) >= messages:
            return time.time()
        look()
        await asyncio.sleep(POLL_SECONDS)
    raise TooSlow(f"{messages} messages were not read again within {REPLAY_SECONDS_MAX} s")

"""Postgres put back to an earlier moment, offsets that are gone, logs that lost their beginning: nothing is skipped
without a word.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from credit_contracts import InOrder, Place, Repeat, SequenceGuard, Verdict, decode_outgoing
from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData, PlanChanged, ProspectGenerated
from credit_local_stack.postgres import postgres_binaries
from support.locks import waiting_for_a_lock
from support.observed import CHANGES, DECLINES, Message, Observed
from support.patience import patience
from support.promises import violations
from support.service import Deployment
from support.small_bounds import as_faults
from support.topics import delete_records
from support.traffic import Sent, event, random_traffic
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEGAN = datetime.now(UTC) - timedelta(days=1)


async def fetch(database_url: str, query: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        value: int = await connection.fetchval(query)
    finally:
        await connection.close()
    return value


@asynccontextmanager
async def backup(deployment: Deployment, folder: Path) -> AsyncIterator[str]:
    """A backup of the database as it is now; restored to a database of its own, whose address is given."""
    dump = folder / "backup.dump"
    await asyncio.to_thread(_tool, "pg_dump", "--format=custom", f"--file={dump}", deployment.database_url)
    original = deployment.database_url
    name = f"{urlsplit(original).path[1:]}_restored"
    restored = urlsplit(original)._replace(path=f"/{name}").geturl()
    await fetch(original, f"CREATE DATABASE {name}")
    try:
        await asyncio.to_thread(_tool, "pg_restore", "--exit-on-error", f"--dbname={restored}", str(dump))
        yield restored
    finally:
        await fetch(original, f"DROP DATABASE {name} WITH (FORCE)")


def _tool(name: str, *arguments: str) -> None:
    subprocess.run([postgres_binaries() / name, *arguments], check=True, timeout=patience(60))


def charges(account: str, count: int, begin: int = 0) -> list[Event[IncomingData]]:
    """Generated prospects, a second after the other."""
    return [
        event(ProspectGenerated(account_id=account, prospect_id=f"p{n}"), BEGAN + timedelta(seconds=n))
        for n in range(begin, begin + count)
    ]


def plan(account: str) -> Event[IncomingData]:
    return event(PlanChanged(account_id=account, plan_id="plan", monthly_credits=1_000), BEGAN - timedelta(days=1))


async def test_events_since_the_backup_are_decided_again_and_published_again(
    deployment: Deployment, tmp_path: Path
) -> None:
    """What is published again has the same ids, so that consumers who keep the last sequence see a repeat."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(23, events=1_500))
        await upstream.send_raw("email-bounced", b"not json")
    # The backup has a part of the decisions, and events that wait to be published.
    killed = await deployment.start(batch_records_max="25", kill_at="after-commit:15")
    assert await killed.ended() < 0
    await deployment.forget_members()
    async with backup(deployment, tmp_path) as restored:
        first = await deployment.start()
        before = await deployment.oracle().check()
        assert await first.terminate() == 0
        deployment.database_url = restored
        back = await fetch(deployment.database_url, "SELECT count(*) FROM credits.decisions")
        assert 0 < back < len(before.decisions)

        again = await deployment.start()
        after = await deployment.oracle().check(repeats=True)
        assert after.gaps == []
        assert [_said(d, "decided_at") for d in after.decisions] == [_said(d, "decided_at") for d in before.decisions]
        assert [_said(e, "recorded_at") for e in after.entries] == [_said(e, "recorded_at") for e in before.entries]
        assert len(after.outgoing[CHANGES]) > len(before.outgoing[CHANGES])
        told = said_by_guards(after)
        assert told.keys() == {InOrder, Repeat}
        assert told[InOrder] == len({(message.key, message.header("ce_id")) for message in published(after)})
        assert await again.terminate() == 0


def said_by_guards(observed: Observed) -> Counter[type[Verdict]]:
    """How often the contracts' guards say what, to a consumer that reads all that was published."""
    guards: dict[str, SequenceGuard] = {}
    told: Counter[type[Verdict]] = Counter()
    for message in published(observed):
        event = decode_outgoing(message.headers, message.value)
        assert isinstance(event, Event)
        name = event.data.account_id
        at = Place(*message.place)
        verdict, guards[name] = guards.get(name, SequenceGuard(account_id=name)).take(event, at)
        told[type(verdict)] += 1
    assert all(not guard.missing for guard in guards.values())
    return told


def published(observed: Observed) -> list[Message]:
    return [*observed.outgoing[CHANGES], *observed.outgoing[DECLINES]]


def _said(row: dict[str, object], but: str) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != but}


async def test_offsets_that_fall_behind_are_noticed_though_nothing_more_comes(deployment: Deployment) -> None:
    """As after a fail-over to a server that lacks the last commits: no batch comes that would find it."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send([plan("a"), *charges("a", 20)])
    service = await deployment.start()
    before = await deployment.oracle().check()
    back = "WITH back AS (UPDATE credits.partition_offsets SET next_offset = 0 WHERE next_offset > 0 RETURNING 1)"
    assert await fetch(deployment.database_url, f"{back} SELECT count(*) FROM back") == 2
    after = await deployment.oracle().check()
    assert service.logged("stored offsets moved back, reading again from there")
    assert after.stored() == before.stored()
    assert len(after.entries) == len(before.entries) == 21
    assert await service.terminate() == 0


async def test_without_kafkas_offsets_and_cursor_the_ledgers_count(deployment: Deployment) -> None:
    """A group of another name has neither; what was claimed and published is found in the topics."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send([plan("a"), *charges("a", 20)])
        killed = await deployment.start(kill_at="after-kafka-commit:1", batch_records_max="10")
        assert await killed.ended() < 0
        await deployment.forget_members()
        assert await fetch(deployment.database_url, "SELECT count(*) FROM credits.outbox_claim") == 1
        deployment.group += "-2"
        await upstream.send(charges("a", 5, begin=20))
    service = await deployment.start()
    observed = await deployment.oracle().check()
    assert len(observed.outgoing[CHANGES]) == 26
    assert await service.terminate() == 0


async def test_a_log_without_its_beginning_is_a_recorded_gap_and_an_error(deployment: Deployment) -> None:
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send([plan("a"), *charges("a", 10)])
        service = await deployment.start()
        await deployment.oracle().check()
        assert await service.terminate() == 0
        sent = await upstream.send(charges("a", 20, begin=10))
        await delete_records(deployment.kafka, {_partition(sent): sent[5].offset})
        service = await deployment.start()
        await check_gap(deployment, sent, missing=5)
        (error,) = service.logged("offsets are gone, messages may be missing")
        assert (error["level"], error["expected_offset"], error["resumed_offset"]) == (
            "error",
            sent[0].offset,
            sent[5].offset,
        )
        assert await service.terminate() == 0


READS_LITTLE_AHEAD = as_faults(BUFFERED_BYTES_MAX=100_000, FETCH_BYTES_MAX_PER_PARTITION=10_000)


async def test_retention_that_overtakes_a_running_service_is_a_recorded_gap(deployment: Deployment) -> None:
    """Its database does not let it go on, so it falls behind what it reads ahead."""
    await deployment.make_topics()
    blocker = await asyncpg.connect(deployment.database_url)
    async with deployment.upstream() as upstream:
        await upstream.send([plan("a"), *charges("a", 10)])
        service = await deployment.start(faults=READS_LITTLE_AHEAD, batch_records_max="20")
        await deployment.oracle().check()
        async with blocker.transaction():
            await blocker.execute("SELECT FROM credits.accounts FOR UPDATE")
            sent = await upstream.send(charges("a", 2_000, begin=10))
            await eventually(lambda: waiting_for_a_lock(blocker))
            await delete_records(deployment.kafka, {_partition(sent): sent[1_900].offset})
        await blocker.close()
        await check_gap(deployment, sent, missing=None)
        assert len(service.logged("offsets are gone, messages may be missing")) == 1
        assert await service.terminate() == 0


async def check_gap(deployment: Deployment, sent: list[Sent], *, missing: int | None) -> None:
    """One gap is recorded, and of what was sent all is decided that does not lie in it."""
    observed = await deployment.oracle().settled()
    (gap,) = observed.gaps
    skipped = [s for s in sent if gap["expected_offset"] <= s.offset < gap["resumed_offset"]]
    assert skipped
    assert missing in (None, len(skipped))
    assert (gap["topic"], gap["partition"]) == _partition(sent)
    assert gap["log_end_offset"] == sent[-1].offset + 1
    decided = {d["id"] for d in observed.decisions}
    assert decided.isdisjoint(s.event.id for s in skipped)
    assert decided >= {s.event.id for s in sent} - {s.event.id for s in skipped}
    # The messages decided before the log lost its beginning are not there to be compared with.
    assert [told for told in violations(observed) if not told.startswith("inputs:")] == []


def _partition(sent: list[Sent]) -> tuple[str, int]:
    (partition,) = {(s.topic, s.partition) for s in sent}
    return partition


async def test_offsets_put_back_under_a_running_service_are_where_it_reads_again(deployment: Deployment) -> None:
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send([plan("a"), *charges("a", 20)])
        service = await deployment.start()
        before = await deployment.oracle().check()
        put_back = "UPDATE credits.partition_offsets SET next_offset = 0 WHERE topic LIKE '%generated' RETURNING 1"
        await fetch(deployment.database_url, put_back)
        await upstream.send(charges("a", 5, begin=20))
        after = await deployment.oracle().check()
    assert len(after.decisions) == len(before.decisions) + 5
    assert service.logged("stored offsets moved, reading again from there")
    assert await service.terminate() == 0

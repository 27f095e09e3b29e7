"""The most memory that a service takes for what is large on the way in, all of it at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from credit_contracts.incoming import PlanChanged
from support.foreign.batches import CODECS, RawRecord, batch_of, bomb
from support.foreign.wire import append
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from support.service import Deployment, ServiceProcess

MIB = 2**20
MEMORY_BYTES_MAX = 400 * MIB
PARTITIONS = 3
AT = datetime.now(UTC) - timedelta(hours=1)
TOPIC = "prospect-exported"
# A record's headers, as large as a broker takes them with its defaults.
LARGE_HEADERS = 500
HEADER_BYTES = 900_000
# Unpacked: what is read whole, and what is not read at all.
ONE_RECORD_BYTES, TOO_LARGE_BYTES = 60_000_000, 300_000_000


def most_memory_bytes(service: ServiceProcess) -> int:
    """Since it began."""
    status = Path(f"/proc/{service.pid}/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.footprint
@pytest.mark.timeout(600)
async def test_memory_is_bounded_whatever_comes(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=PARTITIONS, max_message_bytes=16 * MIB)
    topic = deployment.topic(TOPIC)
    letters = 0
    for number in range(PARTITIONS):
        batches = [bomb(codec, TOO_LARGE_BYTES) for codec in CODECS[1:] if codec != "snappy"]
        batches += [
            bomb("gzip", ONE_RECORD_BYTES),
            batch_of([RawRecord(b"{", b"k", [(b"n", bytes(MIB))] * 55)], codec="zstd"),
        ]
        for batch in batches:
            await append(deployment.kafka, topic, number, batch)
        letters += len(batches)
    large = batch_of([RawRecord(b"{", b"k", [(b"name", bytes(HEADER_BYTES))])])
    for nth in range(LARGE_HEADERS):
        await append(deployment.kafka, topic, nth % PARTITIONS, large)
    letters += LARGE_HEADERS
    connection = await asyncpg.connect(deployment.database_url)
    service = await (await deployment.start(unreadable_in_a_row_max="1000000")).ready()
    try:
        async with deployment.upstream() as upstream:
            await upstream.send([event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=5), AT)])

        async def are_kept() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM credits.dead_letters") == letters)

        await eventually(are_kept, within_seconds=300, what="a dead letter of each")
        left_out = "SELECT count(*) FROM credits.dead_letters WHERE content_sha256 IS NOT NULL"
        assert await connection.fetchval(left_out) >= 2 * PARTITIONS, "what is too large to be held"
        await deployment.oracle().drained()
    finally:
        await connection.close()
    assert most_memory_bytes(service) < MEMORY_BYTES_MAX
    assert await service.terminate() == 0

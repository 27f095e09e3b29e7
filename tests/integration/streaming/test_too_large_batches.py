"""A batch that holds too much to be unpacked is one dead letter for all its offsets, until it is taken apart."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from credit_contracts.dead_letters import UNTIL_HEADER
from credit_contracts.envelope import encode
from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_contracts.topics import DEAD_LETTER_TOPIC
from support.credits import run_credits
from support.foreign import librdkafka
from support.foreign.batches import CODECS, RawRecord, batch_of
from support.foreign.wire import append
from support.reconciled import reconcile
from support.replays import settings_of
from support.small_bounds import as_faults
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.service import Deployment

ACCOUNT = "acme"
AT = datetime.now(UTC) - timedelta(hours=1)
TOPIC = "prospect-generated"
PACKED_BYTES_MAX = 4_096
# More than a portion is taken apart in, and more than the service unpacks here.
RECORDS = 600
UNREADABLE = 7
LARGE_BYTES = 5 * 2**20


def generated(prospect: str) -> Event[IncomingData]:
    return event(ProspectGenerated(account_id=ACCOUNT, prospect_id=prospect), AT)


def raw(one: Event[IncomingData]) -> RawRecord:
    record = encode(one)
    return RawRecord(record.value, record.key, [(name.encode(), value) for name, value in record.headers])


async def retry(deployment: Deployment, *more: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and what became of each letter."""
    command = ("dead-letters", "retry", *more, "--reason", "wanted", "--operator", "lee", "--output", "json")
    done: CompletedProcess[str] = await asyncio.to_thread(
        run_credits, *command, folder=deployment.folder, **settings_of(deployment)
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


async def discard(deployment: Deployment, number: str) -> None:
    command = ("dead-letters", "discard", number, "--reason", "junk", "--operator", "lee", "--yes")
    done = await asyncio.to_thread(run_credits, *command, folder=deployment.folder, **settings_of(deployment))
    assert done.returncode == 0, done.stderr


async def letters_of(deployment: Deployment) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(deployment.database_url)
    try:
        rows = await connection.fetch("SELECT *, status::text FROM credits.dead_letters ORDER BY dead_letter_id")
        return [dict(row) for row in rows]
    finally:
        await connection.close()


async def balance_of(deployment: Deployment) -> int:
    connection = await asyncpg.connect(deployment.database_url)
    try:
        return int(await connection.fetchval("SELECT balance FROM credits.accounts"))
    finally:
        await connection.close()


async def test_each_codec_is_one_letter_and_reading_goes_on_behind_it(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    codecs = CODECS[1:]
    granted = 1_000 * len(codecs)
    service = await (await deployment.start(faults=as_faults(BATCH_UNPACKED_BYTES_MAX=PACKED_BYTES_MAX))).ready()
    batches, firsts = [batch_with_an_unreadable_record(codec) for codec in codecs], []
    async with deployment.upstream() as upstream:
        plan = PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=granted)
        await upstream.send([event(plan, AT - timedelta(minutes=1))])
        await deployment.oracle().drained()
        for codec, batch in zip(codecs, batches, strict=True):
            firsts.append(await append(deployment.kafka, deployment.topic(TOPIC), 0, batch))
            await upstream.send([generated(f"behind-{codec}")])
        await deployment.oracle().drained()
    letters = await letters_of(deployment)
    assert [(one["offset"], one["reason"]) for one in letters] == [(first, "too-large") for first in firsts]
    for letter, batch in zip(letters, batches, strict=True):
        assert letter["value"][8:] == batch[8:], "the batch as it was sent, but for its offset"
    left = granted - len(codecs)
    assert await balance_of(deployment) == left

    for letter in letters:
        await is_taken_apart(deployment, letter, left)
        left -= RECORDS - 1
    # Who reads it again knows what was decided of it.
    reconciled = await reconcile(deployment, first=as_faults(BATCH_UNPACKED_BYTES_MAX=PACKED_BYTES_MAX))
    assert (reconciled.exit_code, reconciled.findings) == (0, [])
    # Whoever reads the dead letters learns which offsets it stands for.
    dead_letters = deployment.topic(DEAD_LETTER_TOPIC)
    published = await asyncio.to_thread(librdkafka.read, deployment.kafka, dead_letters, 0, 2 * len(codecs))
    untils = [dict(one.headers() or ()).get(UNTIL_HEADER) for one in published]
    assert untils == [b"%d" % (first + RECORDS) for first in firsts] + [None] * len(codecs)
    assert await service.terminate() == 0


def batch_with_an_unreadable_record(codec: str) -> bytes:
    records = [raw(generated(f"{codec}-{n}")) for n in range(RECORDS)]
    records[UNREADABLE] = RawRecord(b"{", b"k", records[UNREADABLE].headers)
    return batch_of(records, codec=codec)


async def is_taken_apart(deployment: Deployment, letter: dict[str, Any], before: int) -> None:
    """By a retry, once; a dry run says so before, and changes nothing. `before` is the balance."""
    number = str(letter["dead_letter_id"])
    assert await retry(deployment, number, "--dry-run") == (
        0,
        [
            {
                "dead_letter_id": int(number),
                "became": "resolved",
                "outcome": "taken-apart",
                "reason": None,
                "detail": None,
            }
        ],
    )
    assert await balance_of(deployment) == before
    exit_code, (answer,) = await retry(deployment, number)
    assert (exit_code, answer["became"], answer["outcome"]) == (0, "resolved", "taken-apart")
    after = before - (RECORDS - 1)
    assert await balance_of(deployment) == after
    letters = await letters_of(deployment)
    (whole,) = [one for one in letters if one["dead_letter_id"] == letter["dead_letter_id"]]
    assert (whole["status"], whole["operator"], whole["comment"]) == ("resolved", "lee", "wanted")
    of_its_record = letters[-1]
    assert (of_its_record["offset"], of_its_record["reason"]) == (letter["offset"] + UNREADABLE, "not-json")

    exit_code, (answer,) = await retry(deployment, number)
    assert (exit_code, answer["became"]) == (0, "resolved-before")
    assert await balance_of(deployment) == after
    await discard(deployment, str(of_its_record["dead_letter_id"]))


async def test_what_is_too_large_even_then_waits_on_and_the_rest_is_decided(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    large = RawRecord(bytes(LARGE_BYTES), b"k")
    batch = batch_of([raw(generated("before")), large, raw(generated("after"))], codec="zstd")
    service = await (await deployment.start(faults=as_faults(BATCH_UNPACKED_BYTES_MAX=PACKED_BYTES_MAX))).ready()
    async with deployment.upstream() as upstream:
        plan = PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10)
        await upstream.send([event(plan, AT - timedelta(minutes=1))])
        await append(deployment.kafka, deployment.topic(TOPIC), 0, batch)
        await deployment.oracle().drained()
    exit_code, (answer,) = await retry(deployment, "--all", "--yes")
    assert (exit_code, answer["became"], answer["reason"]) == (1, "failed", "too-large")
    assert answer["detail"] == "batch: 1 of its records are too large to be read, the others are decided"
    assert await balance_of(deployment) == 8
    (letter,) = await letters_of(deployment)
    assert (letter["status"], letter["retries"]) == ("waiting", 1)
    reconciled = await reconcile(deployment, first=as_faults(BATCH_UNPACKED_BYTES_MAX=PACKED_BYTES_MAX))
    assert [one["kind"] for one in reconciled.findings] == ["dead-letter-waiting"]
    assert await service.terminate() == 0


async def test_a_service_that_is_killed_after_it_reads_on_behind_it(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    faults = as_faults(BATCH_UNPACKED_BYTES_MAX=PACKED_BYTES_MAX)
    batch = batch_of([raw(generated(f"in-{n}")) for n in range(RECORDS)], codec="gzip")
    service = await (await deployment.start(faults=faults)).ready()
    await append(deployment.kafka, deployment.topic(TOPIC), 0, batch)

    async def is_kept() -> bool:
        return len(await letters_of(deployment)) == 1

    await eventually(is_kept, what="the letter")
    await service.kill()
    service = await (await deployment.start(faults=faults)).ready()
    async with deployment.upstream() as upstream:
        await upstream.send([generated("behind")])
    await deployment.oracle().drained()
    assert len(await letters_of(deployment)) == 1
    assert await service.terminate() == 0

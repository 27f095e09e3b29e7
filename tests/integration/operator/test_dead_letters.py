"""What cannot be read or decided is a dead letter, with its bytes, its place and the reason; nothing else is."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import psutil  # type: ignore[import-untyped]

from credit_contracts.envelope import Headers, encode
from credit_contracts.incoming import PlanChanged, ProspectExported, ProspectGenerated, ProspectImported
from support.foreign.batches import with_header_name
from support.foreign.wire import append
from support.observed import DEAD_LETTERS
from support.service import Deployment
from support.traffic import Upstream, event

MIB = 1024 * 1024
MEMORY_BYTES_MAX = 250 * MIB

GOOD_DATA = {"account_id": "poisoned", "prospect_id": "p"}
PLAN_DATA = {"account_id": "poisoned", "plan_id": "p", "monthly_credits": 5}


def headers(event_type: str = "prospect-generated", **changed: bytes | None) -> Headers:
    """A good envelope, but for what is changed; a header that is changed to `b""` is left out."""
    at = datetime.now(UTC) - timedelta(minutes=1)
    good: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_id": b"poison",
        "ce_source": b"/poison",
        "ce_type": event_type.encode(),
        "ce_time": at.isoformat().encode(),
    }
    return [(name, value) for name, value in (good | changed).items() if value != b""]


def data(**changed: object) -> bytes:
    return json.dumps(GOOD_DATA | changed).encode()


def plan(monthly_credits: bytes) -> bytes:
    return json.dumps(PLAN_DATA).encode().replace(b"5", monthly_credits)


GENERATED, PLAN = "prospect-generated", "plan-changed"


def poison() -> dict[str, tuple[str, bytes | None, Headers, str]]:
    """By its name: the topic, the value, the headers, and the reason that is due. Times are those of the call."""
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat().encode()
    return {
        "broken JSON": (GENERATED, b'{"account_id": ', headers(), "not-json"),
        "no value": (GENERATED, None, headers(), "no-value"),
        "an empty value": (GENERATED, b"", headers(), "not-json"),
        "deep nesting": (GENERATED, b"[" * 200_000, headers(), "not-json"),
        "not UTF-8": (GENERATED, b'{"account_id": "\xff"}', headers(), "not-json"),
        "not an object": (GENERATED, b"[]", headers(), "bad-data"),
        "a NaN": (PLAN, plan(b"NaN"), headers(PLAN), "bad-data"),
        "an infinity": (PLAN, plan(b"1e999"), headers(PLAN), "bad-data"),
        "a huge integer": (PLAN, plan(b"9" * 3_000), headers(PLAN), "bad-data"),
        "beyond 64 bit": (PLAN, plan(b"18446744073709551616"), headers(PLAN), "bad-data"),
        "below zero": (PLAN, plan(b"-1"), headers(PLAN), "bad-data"),
        "true as a number": (PLAN, plan(b"true"), headers(PLAN), "bad-data"),
        "text as a number": (PLAN, plan(b'"5"'), headers(PLAN), "bad-data"),
        "an empty id": (GENERATED, data(account_id=""), headers(), "bad-data"),
        "an id too long": (GENERATED, data(prospect_id="p" * 129), headers(), "bad-data"),
        "a control character": (GENERATED, data(prospect_id="a\u0000b"), headers(), "bad-data"),
        "a header that is not UTF-8": (GENERATED, data(), headers(ce_id=b"\xff\xfe"), "bad-header"),
        "a header that is null": (GENERATED, data(), headers(ce_source=None), "bad-header"),
        "an unknown type": (GENERATED, data(), headers(ce_type=b"prospect-cloned"), "unknown-type"),
        "another topic's type": (GENERATED, data(), headers(ce_type=b"plan-changed"), "wrong-topic"),
        "no headers": (GENERATED, data(), [], "bad-envelope"),
        "no id": (GENERATED, data(), headers(ce_id=b""), "bad-envelope"),
        "a time without a zone": (GENERATED, data(), headers(ce_time=b"2026-01-01T00:00:00"), "bad-envelope"),
        "a day ahead": (GENERATED, data(), headers(ce_time=ahead), "from-the-future"),
        "before the epoch": (GENERATED, data(), headers(ce_time=b"1969-12-31T23:59:59Z"), "before-1970"),
        "above 512 KiB": (GENERATED, b"x" * (600 * 1024), headers(), "not-json"),
        "ten megabytes": (GENERATED, b"x" * (10 * MIB), headers(), "too-large"),
    }


async def send_between_good_ones(upstream: Upstream) -> dict[tuple[str, int, int], str]:
    """Sends all the poison, each behind a good message on the same partition; the place of each, and what is due."""
    at = datetime.now(UTC) - timedelta(hours=1)
    await upstream.send([event(PlanChanged(account_id="good", plan_id="p", monthly_credits=1_000), at)])
    due = {}
    for name, (topic, value, with_headers, reason) in poison().items():
        good = ProspectGenerated(account_id="good", prospect_id=name)
        await upstream.send([event(good, at + timedelta(minutes=1))])
        due[await upstream.send_raw(topic, value, with_headers, key=b"good")] = reason
    await upstream.send([event(ProspectGenerated(account_id="good", prospect_id="last"), at + timedelta(minutes=2))])
    return due


async def test_only_poison_is_a_dead_letter_and_once(deployment: Deployment) -> None:
    await deployment.make_topics(max_message_bytes=16 * MIB)
    service = await deployment.start()
    async with deployment.upstream() as upstream:
        due = await send_between_good_ones(upstream)
    oracle = deployment.oracle()
    observed = await oracle.check()

    assert {(r["topic"], r["partition"], r["offset"]): r["reason"] for r in observed.dead_letters} == due
    assert Counter(d["outcome"] for d in observed.decisions) == {"plan-in-force": 1, "charged": len(due) + 1}
    assert [m.value is None for m in observed.outgoing[DEAD_LETTERS]].count(True) == 3  # none, and two too large
    assert psutil.Process(service.pid).memory_info().rss < MEMORY_BYTES_MAX
    said = service.said()
    assert not any(word in said for word in ("poisoned", "/poison", "Traceback"))
    assert await service.terminate() == 0

    connection = await asyncpg.connect(deployment.database_url)
    await connection.execute("UPDATE credits.partition_offsets SET next_offset = 0")
    await connection.close()
    again = await deployment.start()
    after = await oracle.check()
    assert sum(batch["events"] for batch in again.logged("batch")) == len(observed.incoming)
    assert after.dead_letters == observed.dead_letters
    assert after.decisions == observed.decisions
    assert after.outgoing == observed.outgoing
    assert await again.terminate() == 0


async def test_a_header_name_that_is_not_utf8_costs_nobody_else_anything(deployment: Deployment) -> None:
    """One record, which a broker takes and most clients cannot read, and then 1,440 good messages to 48 accounts."""
    await deployment.make_topics()
    service = await (await deployment.start()).ready()
    at = datetime.now(UTC) - timedelta(hours=1)
    accounts = [f"account-{number}" for number in range(48)]
    kinds = (ProspectGenerated, ProspectExported, ProspectImported)
    async with deployment.upstream() as upstream:
        plans = [PlanChanged(account_id=account, plan_id="p", monthly_credits=1_000) for account in accounts]
        await upstream.send([event(plan, at) for plan in plans])
        record = encode(event(ProspectGenerated(account_id=accounts[0], prospect_id="foreign"), at))
        batch = with_header_name(b"\xff\xfe", record.value, record.headers, record.key)
        offset = await append(deployment.kafka, deployment.topic("prospect-generated"), 1, batch)
        for number in range(10):
            told = [kind(account_id=a, prospect_id=f"{kind.__name__}-{number}") for a in accounts for kind in kinds]
            await upstream.send([event(data, at + timedelta(minutes=1)) for data in told])
    await deployment.oracle().drained()
    connection = await asyncpg.connect(deployment.database_url)
    try:
        letters = await connection.fetch('SELECT "partition", "offset", reason FROM credits.dead_letters')
        decided = await connection.fetch("SELECT outcome::text, count(*) FROM credits.decisions GROUP BY outcome")
    finally:
        await connection.close()
    assert [tuple(letter) for letter in letters] == [(1, offset, "bad-header")]
    assert {tuple(row) for row in decided} == {("plan-in-force", 48), ("charged", 960), ("imported", 480)}
    assert service.logged("partition is held, it cannot be read") == []
    assert await service.terminate() == 0

"""The floor: consumes the same messages, COPYs rows of the same columns, produces as many bytes, and decides nothing.

No logic, no locks, no look-ups, no updates, no exactly-once: what is left is what the two servers and the drivers
cost. It runs as one process, and publishes a batch while it is being copied.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
from pydantic_core import from_json

from benchmarks.deployment import BALANCE_CHANGED
from benchmarks.yardstick import consumer_of, deployment, opened, producer_of, run_until_sigterm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaProducer, ConsumerRecord

    from benchmarks.deployment import Deployment

RECORDS_MAX = 2_000
POLL_MS = 500
MONTH = timedelta(days=30)
SCHEMA = "floor"

COLUMNS = {
    "accounts": (
        "account_id partition_hash balance sequence position last_grant_id plan_position anchor_at time_zone "
        "period_number period_starts_at period_ends_at granted_in_period next_timer_at"
    ).split(),
    "decisions": (
        "account_id position key content content_version source id type outcome occurred_at decided_at partition "
        "offset prospect_id"
    ).split(),
    "plans": "account_id position plan_id monthly_credits effective_at occurred_at pending".split(),
    "grants": "account_id grant_id origin amount remaining effective_at expires_at open position".split(),
    "entries": (
        "account_id sequence line grant_id amount previous_balance balance reason position refunds_sequence "
        "period_ends_at occurred_at recorded_at"
    ).split(),
    "prospects": "account_id prospect_id origin told_position charge_sequence charge_grant_id".split(),
    "outbox": "topic key event_id event_time payload".split(),
}
OUTCOMES = {"plan": "plan-in-force", "charge": "charged", "free": "free", "refund": "refunded"}
REASONS = {"plan": ("plan_change", 1), "charge": ("charge", -1), "refund": ("refund", 1)}

PAYLOAD = (
    '{"account_id":"%s","sequence":%d,"previous_balance":10000000,"balance":9999999,"delta":%d,"reason":"%s",'
    '"cause":{"source":"%s","id":"%s","type":"%s"},"prospect_id":"%s","unlimited":false,"period_ends_at":"%s",'
    '"occurred_at":"%s","recorded_at":"%s"}'
)


@dataclass(slots=True)
class Outgoing:
    """One record for the partition with the number that its message came from: same key, same number."""

    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(slots=True)
class Batch:
    """What one batch of messages turns into."""

    rows: dict[str, list[tuple[object, ...]]] = field(default_factory=lambda: defaultdict(list))
    out: list[Outgoing] = field(default_factory=list)


class Rows:
    """Rows as the service would write them, but for their meaning: one count stands for all that is numbered."""

    def __init__(self) -> None:
        # From the clock, so that it goes on after a restart.
        self._count = itertools.count(time.time_ns() // 1_000)

    def of(self, records: Iterable[ConsumerRecord]) -> Batch:
        """The rows and records of a batch."""
        batch = Batch()
        for record in records:
            self._add(batch, record)
        return batch

    def _add(self, batch: Batch, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        data = from_json(record.value)
        account, effect, number = data["account_id"], data["effect"], next(self._count)
        source, event_id, event_type = (headers[f"ce_{name}"].decode() for name in ("source", "id", "type"))
        written = headers["ce_time"].decode()
        at = datetime.fromisoformat(written)
        key, prospect, ends = UUID(event_id).bytes, data.get("prospect_id"), at + MONTH
        place = (record.partition, record.offset)
        rows = batch.rows
        rows["decisions"].append(
            (account, number, key, key, 1, source, event_id, event_type, OUTCOMES[effect], at, at, *place, prospect)
        )
        if effect == "plan":
            allowance = data["monthly_credits"]
            rows["accounts"].append((account, 0, allowance, 1, number, 1, 1, at, "UTC", 0, at, ends, allowance, ends))
            rows["plans"].append((account, number, data["plan_id"], allowance, at, at, False))
            rows["grants"].append((account, 1, "plan", allowance, allowance, at, ends, True, number))
        if effect == "charge":
            rows["prospects"].append((account, prospect, event_type.removeprefix("prospect-"), number, number, 1))
        if effect == "free":
            return
        reason, amount = REASONS[effect]
        refunds = number if effect == "refund" else None
        rows["entries"].append((account, number, 0, 1, amount, 1, 1, reason, number, refunds, ends, at, at))
        own_id = f"{account}:{number}"
        cause = (source, event_id, event_type, prospect or "")
        value = (PAYLOAD % (account, number, amount, reason, *cause, written, written, written)).encode()
        rows["outbox"].append((BALANCE_CHANGED, record.key, own_id, at, value))
        envelope = [
            ("ce_specversion", b"1.0"),
            ("ce_id", own_id.encode()),
            ("ce_source", b"/credit-service"),
            ("ce_type", BALANCE_CHANGED.encode()),
            ("ce_time", headers["ce_time"]),
            ("content-type", b"application/json"),
        ]
        batch.out.append(Outgoing(record.partition, record.key, value, envelope))


async def copy(connection: asyncpg.Connection[asyncpg.Record], batch: Batch) -> None:
    """One transaction, a COPY a table."""
    async with connection.transaction():
        for table, rows in batch.rows.items():
            await connection.copy_records_to_table(table, schema_name=SCHEMA, columns=COLUMNS[table], records=rows)


async def produce(producer: AIOKafkaProducer, topic: str, out: list[Outgoing]) -> None:
    """Whole batches to their partitions."""
    by_partition = defaultdict(list)
    for record in out:
        by_partition[record.partition].append(record)
    futures = []
    for partition, records in by_partition.items():
        batch = producer.create_batch()
        for record in records:
            part = {"key": record.key, "value": record.value, "headers": record.headers, "timestamp": None}
            if batch.append(**part) is None:
                futures.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(**part)
        futures.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*futures)


async def work(place: Deployment) -> None:
    """For ever."""
    rows = Rows()
    topic = place.topic_prefix + BALANCE_CHANGED
    connection = await asyncpg.connect(place.database_url)
    try:
        async with consumer_of(place, auto_commit=True) as consumer, producer_of(place) as producer:
            await opened(consumer)
            while True:
                fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
                batch = rows.of(record for records in fetched.values() for record in records)
                await asyncio.gather(copy(connection, batch), produce(producer, topic, batch.out))
    finally:
        await connection.close()


if __name__ == "__main__":
    run_until_sigterm(work(deployment()))

"""The floor: consumes the same messages, COPYs rows of the same columns, produces as many bytes, and decides nothing.

No logic, no locks, no look-ups, no updates, no exactly-once: what is left is what the two servers and the drivers
cost. It runs as one process, publishes a batch while it is being copied, and has as many in hand as the service has.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
from pydantic_core import from_json

from benchmarks.deployment import BALANCE_CHANGED
from benchmarks.yardstick import consumer_of, deployment, opened, producer_of, run_until_sigterm
from credit_service import bounds
from credit_service.bootstrap.garbage_collection import collect_seldom
from credit_service.postgres.ids import packed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaProducer, ConsumerRecord

    from benchmarks.deployment import Deployment
    from benchmarks.one_transaction import Connection

RECORDS_MAX = 2_000
BATCHES_IN_HAND = bounds.LANES
POLL_MS = 500
MONTH = timedelta(days=30)
SCHEMA = "floor"

COLUMNS = {
    "accounts": (
        "account_id account_no partition_hash balance sequence position last_grant_id plan_position anchor_at "
        "time_zone period_number period_starts_at period_ends_at granted_in_period next_timer_at"
    ).split(),
    "decisions": (
        "account_no position key content content_version source id type outcome occurred_at decided_at partition "
        "offset prospect_id"
    ).split(),
    "plans": "account_no position plan_id monthly_credits effective_at occurred_at pending type source id".split(),
    "grants": "account_no grant_id origin amount remaining effective_at expires_at open position".split(),
    "entries": (
        "account_no sequence line grant_id amount previous_balance balance reason position refunds_sequence "
        "period_ends_at occurred_at recorded_at"
    ).split(),
    "prospects": "account_no prospect_id origin told stay charge_sequence charge_grant_id".split(),
    "outbox": "topic key event_id event_time payload".split(),
}
OUTCOMES = {"plan": "plan-in-force", "charge": "charged", "free": "free", "refund": "refunded"}
REASONS = {"plan": ("plan_change", 1), "charge": ("charge", -1), "refund": ("refund", 1)}

PAYLOAD = (
    '{"account_id":"%s","sequence":%d,"previous_balance":10000000,"balance":9999999,"delta":%d,"reason":"%s",'
    '"cause":{"source":"%s","id":"%s","type":"%s"},"prospect_id":%s,"unlimited":false,"period_ends_at":"%s",'
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
        # Of each account, so that its digits are as many as the service's. A restart begins anew, with new accounts.
        self._counts: defaultdict[str, int] = defaultdict(int)
        # From anywhere, so that the accounts of two runs on the same tables hardly meet.
        self._numbers: defaultdict[str, int] = defaultdict(itertools.count(random.randrange(2**30)).__next__)

    def of(self, records: Iterable[ConsumerRecord]) -> Batch:
        """The rows and records of a batch."""
        batch = Batch()
        for record in records:
            self._add(batch, record)
        return batch

    def _add(self, batch: Batch, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        data = from_json(record.value)
        account, effect = data["account_id"], data["effect"]
        self._counts[account] = number = self._counts[account] + 1
        source, event_id, event_type = (headers[f"ce_{name}"].decode() for name in ("source", "id", "type"))
        written = headers["ce_time"].decode()
        at = datetime.fromisoformat(written)
        key, prospect, ends = packed(event_id), data.get("prospect_id"), at + MONTH
        account_no, prospect_id = self._numbers[account], packed(prospect) if prospect else None
        place = (record.partition, record.offset)
        rows = batch.rows
        rows["decisions"].append(
            (account_no, number, key, key, 1, source, key, event_type, OUTCOMES[effect], at, at, *place, prospect_id)
        )
        if effect == "plan":
            allowance = data["monthly_credits"]
            counted = (allowance, 1, number, 1, 1)
            rows["accounts"].append((account, account_no, 0, *counted, at, "UTC", 0, at, ends, allowance, ends))
            plan = (account_no, number, data["plan_id"], allowance, at, at, False, event_type, source, key)
            rows["plans"].append(plan)
            rows["grants"].append((account_no, 1, "plan", allowance, allowance, at, ends, True, number))
        if effect == "charge":
            origin, told = event_type.removeprefix("prospect-"), f"{{{number}}}"
            rows["prospects"].append((account_no, prospect_id, origin, told, 1, number, 1))
        if effect == "free":
            return
        reason, amount = REASONS[effect]
        refunds = number if effect == "refund" else None
        rows["entries"].append((account_no, number, 0, 1, amount, 1, 1, reason, number, refunds, ends, at, at))
        own_id = f"{account}:{number}"
        cause = (source, event_id, event_type, f'"{prospect}"' if prospect else "null")
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


async def copy(connection: Connection, batch: Batch) -> None:
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


class Writer:
    """Copies and publishes batches, as many at a time as the service has in hand; published in the order they came."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], producer: AIOKafkaProducer, topic: str) -> None:
        self._pool = pool
        self._producer = producer
        self._topic = topic
        self._room = asyncio.Semaphore(BATCHES_IN_HAND)
        self._turn = asyncio.Lock()

    async def has_room(self) -> None:
        """Waits until one more batch may be written."""
        await self._room.acquire()

    async def write(self, batch: Batch) -> None:
        """Both at once; there is room for the next one afterwards."""
        await asyncio.gather(self._copy(batch), self._publish(batch))
        self._room.release()

    async def _copy(self, batch: Batch) -> None:
        async with self._pool.acquire() as connection:
            await copy(connection, batch)

    async def _publish(self, batch: Batch) -> None:
        async with self._turn:
            await produce(self._producer, self._topic, batch.out)


async def work(place: Deployment) -> None:
    """For ever."""
    collect_seldom()  # as the service does: it would take a fifth of this, and is neither server nor driver
    rows = Rows()
    async with (
        asyncpg.create_pool(
            place.database_url, min_size=BATCHES_IN_HAND, max_size=BATCHES_IN_HAND, reset=_leave_as_it_is
        ) as pool,
        consumer_of(place, auto_commit=True) as consumer,
        producer_of(place) as producer,
        asyncio.TaskGroup() as group,
    ):
        writer = Writer(pool, producer, place.topic_prefix + BALANCE_CHANGED)
        await opened(consumer)
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
            if fetched:
                batch = rows.of(record for records in fetched.values() for record in records)
                await writer.has_room()
                group.create_task(writer.write(batch))


async def _leave_as_it_is(_: object) -> None:
    """The service's pool does without a reset, too."""


if __name__ == "__main__":
    run_until_sigterm(work(deployment()))

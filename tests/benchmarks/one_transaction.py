"""One transaction per event: what a careful engineer writes in an afternoon, on tables like the service's.

Each event has its own transaction on one of a few connections; accounts are spread over them by hash, which keeps
their order. A plain relay publishes the outbox with an idempotent producer: at least once, not exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from benchmarks.yardstick import (
    consumer_of,
    deployment,
    hold_back_until_plans_are_read,
    let_go_once_plans_are_read,
    opened,
    producer_of,
    run_until_sigterm,
)
from credit_contracts import (
    SERVICE_SOURCE,
    BalanceChanged,
    Cause,
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectExported,
    ProspectGenerated,
    Reason,
    Unreadable,
    decode,
    encode,
)
from credit_contracts.envelope import binary_headers
from credit_service.domain.idempotency import CONTENT_VERSION, content_of, key_of
from credit_service.postgres.ids import packed

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

    from benchmarks.deployment import Deployment

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]

RECORDS_MAX = 2_000
POLL_MS = 500
RELAY_ROWS_MAX = 1_000
RELAY_POLL_SECONDS = 1.0

OPEN_ACCOUNT = "INSERT INTO accounts (account_id, partition_hash) VALUES ($1, 0) ON CONFLICT DO NOTHING"
LOCK_ACCOUNT = """
SELECT account_no, balance, sequence, position, period_ends_at FROM accounts WHERE account_id = $1 FOR UPDATE
"""
INSERT_KEY = """
INSERT INTO decisions (account_no, position, key, content, content_version, source, id, type, outcome, occurred_at,
    decided_at, partition, "offset", prospect_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT DO NOTHING RETURNING position
"""
SET_OUTCOME = "UPDATE decisions SET outcome = $3 WHERE account_no = $1 AND position = $2"
# Takes the grant that burns first; nothing if the prospect is there already, or no credit is left.
INSERT_PROSPECT = """
INSERT INTO prospects (account_no, prospect_id, origin, charge_sequence, told, stay, charge_grant_id)
SELECT $1, $2, $3, $4, $5, 1, grant_id
FROM grants
WHERE account_no = $1 AND open AND remaining > 0
ORDER BY expires_at NULLS LAST, effective_at, grant_id
LIMIT 1
ON CONFLICT DO NOTHING RETURNING charge_grant_id
"""
CHARGE_BOUNCED_PROSPECT = """
UPDATE prospects AS p SET origin = $3, stay = 1, charge_sequence = $4, charge_grant_id = g.grant_id
FROM (SELECT grant_id FROM grants WHERE account_no = $1 AND open AND remaining > 0
    ORDER BY expires_at NULLS LAST, effective_at, grant_id LIMIT 1) AS g
WHERE p.account_no = $1 AND p.prospect_id = $2 AND p.origin IS NULL
RETURNING charge_grant_id
"""
READ_PROSPECT = """
SELECT origin, charge_sequence, charge_grant_id, refund_sequence FROM prospects
WHERE account_no = $1 AND prospect_id = $2
"""
REMEMBER_BOUNCE = "INSERT INTO prospects (account_no, prospect_id, told, stay) VALUES ($1, $2, $3, 0)"
REFUND_PROSPECT = "UPDATE prospects SET refund_sequence = $3 WHERE account_no = $1 AND prospect_id = $2"
MOVE_GRANT = "UPDATE grants SET remaining = remaining + $3 WHERE account_no = $1 AND grant_id = $2"
INSERT_ENTRY = """
INSERT INTO entries (account_no, sequence, line, grant_id, amount, previous_balance, balance, reason, position,
    refunds_sequence, period_ends_at, occurred_at, recorded_at)
VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
INSERT_OUTBOX = "INSERT INTO outbox (topic, key, event_id, event_time, payload) VALUES ($1, $2, $3, $4, $5)"
STORE_ACCOUNT = "UPDATE accounts SET balance = $2, sequence = $3, position = $4 WHERE account_no = $1"
INSERT_PLAN = """
INSERT INTO plans (account_no, position, plan_id, monthly_credits, effective_at, occurred_at, pending, type, source, id)
VALUES ($1, $2, $3, $4, $5, $5, false, $6, $7, $8)
"""
INSERT_GRANT = """
INSERT INTO grants (account_no, grant_id, origin, amount, remaining, effective_at, expires_at, open, position)
VALUES ($1, 1, 'plan', $2, $2, $3, $4, true, $5)
"""
BEGIN_PERIOD = """
UPDATE accounts SET anchor_at = $2, time_zone = 'UTC', period_number = 0, period_starts_at = $2, granted_in_period = $3,
    last_grant_id = 1, plan_position = position, period_ends_at = $2::timestamptz + interval '1 month',
    next_timer_at = $2::timestamptz + interval '1 month'
WHERE account_no = $1
RETURNING period_ends_at
"""
READ_OUTBOX = "SELECT outbox_id, topic, key, event_id, event_time, payload FROM outbox ORDER BY outbox_id LIMIT $1"
DELETE_OUTBOX = "DELETE FROM outbox WHERE outbox_id = any($1::bigint[])"


@dataclass(slots=True)
class Account:
    """The locked row, as the event changes it."""

    account_id: str
    account_no: int
    balance: int
    sequence: int
    position: int
    period_ends_at: datetime | None


async def decide(connection: Connection, record: ConsumerRecord, event: Event[IncomingData]) -> None:
    """The whole event in one transaction; a repeat has no effect."""
    data = event.data
    async with connection.transaction():
        if isinstance(data, PlanChanged):
            await connection.execute(OPEN_ACCOUNT, data.account_id)
        row = await connection.fetchrow(LOCK_ACCOUNT, data.account_id)
        if row is None:
            raise LookupError("an event came before its account's plan")
        account = Account(data.account_id, *row)
        account.position += 1
        now = datetime.now(UTC)
        if not await _insert_key(connection, account, record, event, now):
            return
        if isinstance(data, PlanChanged):
            await _begin_plan(connection, account, event, data, now)
        elif isinstance(data, EmailBounced):
            await _refund(connection, account, event, data.prospect_id, now)
        elif isinstance(data, ProspectGenerated | ProspectExported):
            await _charge(connection, account, event, data.prospect_id, now)
        else:
            raise NotImplementedError(f"the mix has no {event.type}")
        await connection.execute(STORE_ACCOUNT, account.account_no, account.balance, account.sequence, account.position)


def _told(account: Account) -> str:
    """What was told of a prospect, as its row keeps it: this decision."""
    return f"{{{account.position}}}"


# The usual outcome of each type is inserted with the key; what turns out otherwise is corrected.
USUAL_OUTCOME = {
    "prospect-generated": "charged",
    "prospect-exported": "charged",
    "email-bounced": "refunded",
    "plan-changed": "plan-in-force",
}


async def _insert_key(
    connection: Connection, account: Account, record: ConsumerRecord, event: Event[IncomingData], now: datetime
) -> bool:
    inserted = await connection.fetchval(
        INSERT_KEY,
        account.account_no,
        account.position,
        key_of(event.source, event.id),
        content_of(event.type, event.data),
        CONTENT_VERSION,
        event.source,
        packed(event.id),
        event.type,
        USUAL_OUTCOME[event.type],
        event.time,
        now,
        record.partition,
        record.offset,
        packed(prospect) if (prospect := getattr(event.data, "prospect_id", None)) else None,
    )
    return inserted is not None


async def _charge(
    connection: Connection, account: Account, event: Event[IncomingData], prospect_id: str, now: datetime
) -> None:
    origin = "generated" if event.type == "prospect-generated" else "exported"
    named = (account.account_no, packed(prospect_id), origin, account.sequence + 1)
    grant_id = await connection.fetchval(INSERT_PROSPECT, *named, _told(account))
    if grant_id is not None:
        await _change(connection, account, event, prospect_id, now, "charge", -1, grant_id)
        return
    prospect = await connection.fetchrow(READ_PROSPECT, account.account_no, packed(prospect_id))
    if prospect is None:
        raise LookupError("an account has no credits left: the mix has none of these")
    if prospect["origin"] is not None:
        await connection.execute(SET_OUTCOME, account.account_no, account.position, "free")
        return
    grant_id = await connection.fetchval(CHARGE_BOUNCED_PROSPECT, *named)
    await _change(connection, account, event, prospect_id, now, "charge", -1, grant_id)
    await _give_back(connection, account, event, prospect_id, now, grant_id, account.sequence)


async def _refund(
    connection: Connection, account: Account, event: Event[IncomingData], prospect_id: str, now: datetime
) -> None:
    prospect = await connection.fetchrow(READ_PROSPECT, account.account_no, packed(prospect_id))
    if prospect is None:
        await connection.execute(REMEMBER_BOUNCE, account.account_no, packed(prospect_id), _told(account))
        await connection.execute(SET_OUTCOME, account.account_no, account.position, "awaiting-charge")
    elif prospect["charge_sequence"] is None or prospect["refund_sequence"] is not None:
        await connection.execute(SET_OUTCOME, account.account_no, account.position, "no-effect")
    else:
        charge, grant_id = prospect["charge_sequence"], prospect["charge_grant_id"]
        await _give_back(connection, account, event, prospect_id, now, grant_id, charge)


async def _give_back(
    connection: Connection,
    account: Account,
    event: Event[IncomingData],
    prospect_id: str,
    now: datetime,
    grant_id: int,
    charge_sequence: int,
) -> None:
    await connection.execute(REFUND_PROSPECT, account.account_no, packed(prospect_id), account.sequence + 1)
    await _change(connection, account, event, prospect_id, now, "refund", 1, grant_id, charge_sequence)


async def _begin_plan(
    connection: Connection, account: Account, event: Event[IncomingData], plan: PlanChanged, now: datetime
) -> None:
    amount = plan.monthly_credits or 0
    account.period_ends_at = await connection.fetchval(BEGIN_PERIOD, account.account_no, event.time, amount)
    await connection.execute(
        INSERT_PLAN,
        account.account_no,
        account.position,
        plan.plan_id,
        plan.monthly_credits,
        event.time,
        event.type,
        event.source,
        packed(event.id),
    )
    await connection.execute(
        INSERT_GRANT, account.account_no, amount, event.time, account.period_ends_at, account.position
    )
    await _change(connection, account, event, None, now, "plan_change", amount, 1)


async def _change(
    connection: Connection,
    account: Account,
    event: Event[IncomingData],
    prospect_id: str | None,
    now: datetime,
    reason: Reason,
    amount: int,
    grant_id: int,
    refunds_sequence: int | None = None,
) -> None:
    previous, account.balance = account.balance, account.balance + amount
    account.sequence += 1
    if reason != "plan_change":
        await connection.execute(MOVE_GRANT, account.account_no, grant_id, amount)
    await connection.execute(
        INSERT_ENTRY,
        account.account_no,
        account.sequence,
        grant_id,
        amount,
        previous,
        account.balance,
        reason,
        account.position,
        refunds_sequence,
        account.period_ends_at,
        event.time,
        now,
    )
    changed = BalanceChanged(
        account_id=account.account_id,
        sequence=account.sequence,
        previous_balance=previous,
        balance=account.balance,
        delta=amount,
        reason=reason,
        cause=Cause(source=event.source, id=event.id, type=event.type),
        prospect_id=prospect_id,
        unlimited=False,
        period_ends_at=account.period_ends_at,
        occurred_at=event.time,
        recorded_at=now,
    )
    outgoing = Event(SERVICE_SOURCE, f"{account.account_id}:{account.sequence}", "balance-changed", now, changed)
    encoded = encode(outgoing)
    await connection.execute(INSERT_OUTBOX, outgoing.type, encoded.key, outgoing.id, now, encoded.value)


class Workers:
    """Works off what was fetched, a connection for each share of the accounts, and only then commits the offsets."""

    def __init__(self, pool: Pool, connections: int, consumer: AIOKafkaConsumer, news: asyncio.Event) -> None:
        self._pool = pool
        self._connections = connections
        self._consumer = consumer
        self._news = news

    async def run(self) -> None:
        """For ever."""
        hold_back_until_plans_are_read(self._consumer)
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
            shares = defaultdict(list)
            for record in (record for records in fetched.values() for record in records):
                shares[hash(record.key) % self._connections].append(record)
            async with asyncio.TaskGroup() as group:
                for share in shares.values():
                    group.create_task(self._work(share))
            if fetched:
                await self._consumer.commit({p: records[-1].offset + 1 for p, records in fetched.items()})
            await let_go_once_plans_are_read(self._consumer)

    async def _work(self, records: list[ConsumerRecord]) -> None:
        async with self._pool.acquire() as connection:
            for record in records:
                event = decode(record.headers, record.value)
                if isinstance(event, Unreadable):
                    raise ValueError(event.detail)
                await decide(connection, record, event)
                self._news.set()


async def relay(connection: Connection, producer: AIOKafkaProducer, prefix: str, news: asyncio.Event) -> None:
    """Publishes the outbox and deletes what Kafka has, for ever."""
    while True:
        news.clear()
        rows = await connection.fetch(READ_OUTBOX, RELAY_ROWS_MAX)
        if not rows:
            try:
                async with asyncio.timeout(RELAY_POLL_SECONDS):
                    await news.wait()
            except TimeoutError:
                continue
        sent = [
            await producer.send(
                prefix + row["topic"],
                key=row["key"],
                value=row["payload"],
                headers=binary_headers(SERVICE_SOURCE, row["event_id"], row["topic"], row["event_time"]),
            )
            for row in rows
        ]
        await asyncio.gather(*sent)
        await connection.execute(DELETE_OUTBOX, [row["outbox_id"] for row in rows])


async def work(place: Deployment, connections: int) -> None:
    """Consumes, decides, publishes, for ever."""
    news = asyncio.Event()
    async with (
        asyncpg.create_pool(
            place.database_url,
            min_size=connections + 1,
            max_size=connections + 1,
            server_settings={"search_path": "one_transaction", "timezone": "UTC"},
        ) as pool,
        consumer_of(place, auto_commit=False) as consumer,
        producer_of(place) as producer,
        pool.acquire() as relays,
        asyncio.TaskGroup() as group,
    ):
        await opened(consumer)
        group.create_task(Workers(pool, connections, consumer, news).run())
        group.create_task(relay(relays, producer, place.topic_prefix, news))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, required=True)
    run_until_sigterm(work(deployment(), parser.parse_args().connections))

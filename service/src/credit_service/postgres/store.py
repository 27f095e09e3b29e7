"""What a transaction writes: rows that are new are copied in, rows that were there are updated as a set."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from hashlib import blake2b
from typing import TYPE_CHECKING

from credit_contracts.topics import DEAD_LETTER_TOPIC
from credit_service.application.ports import DeadLetter, ToStore
from credit_service.domain.account import Account
from credit_service.domain.decision import TYPE_RANK, Change, Decision, Incoming
from credit_service.domain.grant import Grant
from credit_service.domain.idempotency import CONTENT_VERSION
from credit_service.domain.plan import Plan
from credit_service.postgres.statements import sql
from credit_service.postgres.story import columns_of

if TYPE_CHECKING:
    from credit_service.postgres.pool import Connection

DETAIL_CHARACTERS_MAX = 1000


async def store(connection: "Connection", what: ToStore) -> None:
    """Writes everything that one batch brought; nothing is asked for where there is nothing to write."""
    decided, accounts = what.decided, what.accounts.values()
    await _copy(connection, "decisions", DECISION, map(_decision, decided.decisions))
    await _copy(connection, "entries", ENTRY, (row for change in decided.changes for row in _entries(change)))
    await _store_prospects(connection, accounts)
    await _store_grants(connection, accounts)
    await _store_plans(connection, accounts)
    await _store_purchases(connection, accounts)
    await _store_requests(connection, what)
    await _store_parked(connection, what)
    await _update(connection, "store_accounts", [_account(account) for account in accounts])
    await _copy(
        connection,
        "outbox",
        OUTBOX,
        ((row.topic, row.key, row.event_id, row.event_time, row.payload) for row in what.outbox),
    )
    await _store_dead_letters(connection, what.dead_letters)
    await _update(
        connection, "store_offsets", [(*partition, offset) for partition, offset in what.next_offsets.items()]
    )


async def _copy(
    connection: "Connection", table: str, columns: Sequence[str], rows: Iterable[tuple[object, ...]]
) -> None:
    records = list(rows)
    if records:
        await connection.copy_records_to_table(table, schema_name="credits", columns=columns, records=records)


async def _update(
    connection: "Connection", name: str, rows: Sequence[tuple[object, ...]], *same_for_all: object
) -> None:
    if rows:
        await connection.execute(sql(name), *zip(*rows, strict=True), *same_for_all)


DECISION = (
    "account_id position key content content_version source id type outcome occurred_at decided_at "
    "partition offset prospect_id declined_in_period period_ends_at note"
).split()


def _decision(d: Decision) -> tuple[object, ...]:
    place = (d.place.partition, d.place.offset) if d.place else (None, None)
    return (
        d.account_id,
        d.position,
        d.key,
        d.content,
        CONTENT_VERSION,
        d.source,
        d.id,
        d.type,
        d.outcome,
        d.occurred_at,
        d.decided_at,
        *place,
        d.prospect_id,
        d.declined_in_period,
        d.period_ends_at,
        d.note,
    )


ENTRY = (
    "account_id sequence line grant_id amount previous_balance balance reason position refunds_sequence "
    "period_ends_at occurred_at recorded_at"
).split()


def _entries(change: Change) -> Iterable[tuple[object, ...]]:
    """A row a grant; a change that touched none has one row without a grant."""
    for line, (grant_id, amount) in enumerate(change.lines or [(None, 0)]):
        yield (
            change.account_id,
            change.sequence,
            line,
            grant_id,
            amount,
            change.previous_balance,
            change.balance,
            change.reason,
            change.cause.position,
            change.refunds_sequence,
            change.period_ends_at,
            change.occurred_at,
            change.recorded_at,
        )


OUTBOX = ("topic", "key", "event_id", "event_time", "payload")


def _account(a: Account) -> tuple[object, ...]:
    calendar = (a.calendar.anchor_at, a.calendar.time_zone) if a.calendar else (None, None)
    period = (a.period.number, a.period.starts_at, a.period.ends_at) if a.period else (None, None, None)
    return (
        a.account_id,
        a.balance,
        a.unlimited,
        a.sequence,
        a.position,
        a.last_grant_id,
        a.plan.cause.position if a.plan else 0,
        *calendar,
        *period,
        a.granted_in_period,
        a.declined_in_period,
        a.parked,
        a.next_timer_at,
    )


PROSPECT = (
    "account_id prospect_id origin told_position charge_sequence charge_grant_id refund_sequence bounce_position "
    "deleted_at stay story"
).split()


async def _store_prospects(connection: "Connection", accounts: Iterable[Account]) -> None:
    new: list[tuple[object, ...]] = []
    known: list[tuple[object, ...]] = []
    for account in accounts:
        for prospect_id in account.touched_prospects:
            row = (account.account_id, prospect_id, *columns_of(account.prospects[prospect_id]))
            (known if prospect_id in account.stored_prospects else new).append(row)
    await _copy(connection, "prospects", PROSPECT, new)
    await _update(connection, "store_prospects", known)


GRANT = "account_id grant_id origin amount remaining effective_at expires_at position open".split()


def _grant(account_id: str, g: Grant) -> tuple[object, ...]:
    return (
        account_id,
        g.grant_id,
        g.origin,
        g.amount,
        g.remaining,
        g.effective_at,
        g.expires_at,
        g.position,
        g.is_open,
    )


async def _store_grants(connection: "Connection", accounts: Iterable[Account]) -> None:
    new = [_grant(a.account_id, g) for a in accounts for g in a.new_grants.values()]
    known = [
        (a.account_id, g.grant_id, g.amount, g.remaining, g.is_open)
        for a in accounts
        for g in a.touched_grants.values()
        if g.grant_id not in a.new_grants
    ]
    await _copy(connection, "grants", GRANT, new)
    await _update(connection, "store_grants", known)


PLAN = "account_id position plan_id monthly_credits seats email_accounts effective_at occurred_at pending".split()


def _plan(account: Account, p: Plan) -> tuple[object, ...]:
    return (
        account.account_id,
        p.cause.position,
        p.plan_id,
        p.monthly_credits,
        p.seats,
        p.email_accounts,
        p.effective_at,
        p.cause.occurred_at,
        p in account.pending,
    )


async def _store_plans(connection: "Connection", accounts: Iterable[Account]) -> None:
    await _copy(connection, "plans", PLAN, (_plan(a, p) for a in accounts for p in a.new_plans))
    settled = [(a.account_id, p.cause.position, p.seats, p.email_accounts) for a in accounts for p in a.settled_plans]
    await _update(connection, "settle_plans", settled)


PURCHASE = ("account_id", "purchase_id", "position")


async def _store_purchases(connection: "Connection", accounts: Iterable[Account]) -> None:
    new = ((a.account_id, purchase_id, position) for a in accounts for purchase_id, position in a.new_purchases.items())
    await _copy(connection, "purchases", PURCHASE, new)


REQUEST = ("account_id", "charge_sequence", "prospect_id", "position", "requested_at")


async def _store_requests(connection: "Connection", what: ToStore) -> None:
    decided, now = what.decided, what.now
    new = ((r.account_id, r.charge_sequence, r.prospect_id, r.position, now) for r in decided.requests)
    await _copy(connection, "refund_requests", REQUEST, new)
    await _update(connection, "overtake_requests", decided.requests_overtaken, now)
    await _update(connection, "decide_requests", [astuple(r) for r in decided.decided_requests], now)


PARKED = "account_id key content source id type occurred_at type_rank data partition offset parked_at".split()


async def _store_parked(connection: "Connection", what: ToStore) -> None:
    def row(i: Incoming) -> tuple[object, ...]:
        data = i.data.model_dump_json().encode()
        place = (i.place.partition, i.place.offset)
        rank = TYPE_RANK[i.type]
        return (
            i.account_id, i.key, i.content, i.source, i.id, i.type, i.occurred_at, rank, data, *place, what.now
        )  # fmt: skip

    await _copy(connection, "parked_events", PARKED, map(row, what.decided.parked))
    await _update(connection, "delete_parked_events", [(i.account_id, i.key) for i in what.decided.unparked])


def _dead_letter(letter: DeadLetter) -> tuple[object, ...]:
    record = letter.record
    headers = json.dumps(
        [[name, None if value is None else base64.b64encode(value).decode()] for name, value in record.headers]
    )
    digest = blake2b(digest_size=16)
    for part in (record.key, record.value, headers.encode()):
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    account_id = record.content.account_id if isinstance(record.content, Incoming) else None
    return (
        record.place.topic,
        record.place.partition,
        record.place.offset,
        digest.digest(),
        letter.reason,
        letter.detail[:DETAIL_CHARACTERS_MAX],
        account_id,
        record.key,
        record.value,
        headers,
        record.timestamp_ms,
    )


async def _store_dead_letters(connection: "Connection", letters: Sequence[DeadLetter]) -> None:
    if letters:
        columns = zip(*map(_dead_letter, letters), strict=True)
        await connection.execute(sql("store_dead_letters"), *columns, DEAD_LETTER_TOPIC)

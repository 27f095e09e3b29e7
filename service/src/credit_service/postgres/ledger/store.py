"""The writes of a transaction: new rows are copied in, known rows are updated as a set."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from credit_service.application.ports import ToStore
from credit_service.domain.account import Account
from credit_service.domain.decision import Change, Decision
from credit_service.domain.event import TYPE_RANK, Incoming
from credit_service.domain.grant import Grant
from credit_service.domain.idempotency import CONTENT_VERSION
from credit_service.domain.plan import Plan
from credit_service.domain.room import is_filling
from credit_service.postgres.ids import packed
from credit_service.postgres.ledger.account_row import COLD_COLUMNS, HOT_COLUMNS, Row, to_row
from credit_service.postgres.ledger.load import Loaded
from credit_service.postgres.ledger.prospect_row import columns_of
from credit_service.postgres.ledger.store_dead_letters import store_dead_letters
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Connection


Numbers = Mapping[str, int]
"""The account numbers, which the tables have in place of the ids."""


async def store(connection: "Connection", what: ToStore, loaded: Loaded, letter_bytes_per_day: int) -> None:
    """Writes all changes of one batch; a table without changes costs no statement.

    `letter_bytes_per_day` bounds the bytes that are kept of a topic's dead letters of a day.
    """
    decided, numbers = what.decided, loaded.numbers
    accounts = [account for account in what.accounts.values() if account.account_id in loaded.rows]
    await _copy(connection, "decisions", DECISION, [_decision(numbers[d.account_id], d) for d in decided.decisions])
    await _copy(
        connection, "entries", ENTRY, [row for c in decided.changes for row in _entries(numbers[c.account_id], c)]
    )
    await _store_prospects(connection, accounts, numbers)
    await _store_grants(connection, accounts, numbers)
    await _store_plans(connection, accounts, numbers)
    await _store_purchases(connection, accounts, numbers)
    await _store_requests(connection, what, numbers)
    await _store_adjustments(connection, what, numbers)
    await _store_parked(connection, what, numbers)
    await _store_accounts(connection, accounts, loaded.rows)
    await _store_outbox(connection, what)
    what.left_out = await store_dead_letters(connection, what.dead_letters, letter_bytes_per_day)
    await _update(
        connection, "store_offsets", [(*partition, offset) for partition, offset in what.next_offsets.items()]
    )


async def _copy(
    connection: "Connection", table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        await connection.copy_records_to_table(table, schema_name="credits", columns=columns, records=rows)


async def _update(
    connection: "Connection", name: str, rows: Sequence[tuple[object, ...]], *same_for_all: object
) -> None:
    if rows:
        await connection.execute(sql(name), *zip(*rows, strict=True), *same_for_all)


DECISION = (
    "account_no position key content content_version source id type outcome occurred_at decided_at "
    "partition offset prospect_id declined_in_period period_ends_at note as_it_stands"
).split()


def _decision(number: int, d: Decision) -> tuple[object, ...]:
    place = (d.place.partition, d.place.offset) if d.place else (None, None)
    return (
        number,
        d.position,
        d.key,
        d.content,
        CONTENT_VERSION,
        d.source,
        packed(d.id),
        d.type,
        d.outcome,
        d.occurred_at,
        d.decided_at,
        *place,
        packed(d.prospect_id) if d.prospect_id is not None else None,
        d.declined_in_period,
        d.period_ends_at,
        d.note,
        d.as_it_stands or None,
    )


async def restore_decision(connection: "Connection", number: int, decision: Decision) -> None:
    """Writes a missing decision; raises asyncpg's errors if its position or key exists."""
    await _copy(connection, "decisions", DECISION, [_decision(number, decision)])


ENTRY = (
    "account_no sequence line grant_id amount previous_balance balance reason position refunds_sequence "
    "period_ends_at occurred_at recorded_at"
).split()


NO_LINES: Sequence[tuple[int | None, int]] = [(None, 0)]


def _entries(number: int, change: Change) -> Iterable[tuple[object, ...]]:
    """One row for each grant; a change that touched no grant has one row without a grant."""
    for line, (grant_id, amount) in enumerate(change.lines or NO_LINES):
        yield (
            number,
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


async def _store_outbox(connection: "Connection", what: ToStore) -> None:
    if what.is_traced:
        traced = [(row.topic, row.key, row.event_id, row.event_time, row.payload, row.trace) for row in what.outbox]
        await _copy(connection, "outbox", (*OUTBOX, "trace"), traced)
    else:
        rows = [(row.topic, row.key, row.event_id, row.event_time, row.payload) for row in what.outbox]
        await _copy(connection, "outbox", OUTBOX, rows)


async def _store_accounts(connection: "Connection", accounts: Iterable[Account], as_read: Mapping[str, Row]) -> None:
    """Writes changed accounts, with the changed group of columns alone: each value of an array costs time."""
    moved: list[Row] = []
    changed: list[Row] = []
    filling: list[tuple[int]] = []
    for account in accounts:
        old = as_read[account.account_id]
        row = to_row(old[0], account)
        if row[COLD_COLUMNS] != old[COLD_COLUMNS]:
            changed.append(row)
        elif row[HOT_COLUMNS] != old[HOT_COLUMNS]:
            moved.append((row[0], *row[HOT_COLUMNS]))
        if is_filling(account):
            filling.append((row[0],))
    await _update(connection, "store_hot_columns", moved)
    await _update(connection, "store_accounts", changed)
    await _update(connection, "store_filling_accounts", filling)


PROSPECT = (
    "account_no prospect_id origin told charge_sequence charge_grant_id refund_sequence charge_at stay charges "
    "closed_until"
).split()


async def _store_prospects(connection: "Connection", accounts: Iterable[Account], numbers: Numbers) -> None:
    new: list[tuple[object, ...]] = []
    known: list[tuple[object, ...]] = []
    for account in accounts:
        for prospect_id in account.unstored.changed_prospects:
            row = (numbers[account.account_id], packed(prospect_id), *columns_of(account.prospects[prospect_id]))
            (known if prospect_id in account.stored_prospects else new).append(row)
    await _copy(connection, "prospects", PROSPECT, new)
    await _update(connection, "store_prospects", known)


GRANT = "account_no grant_id origin amount remaining effective_at expires_at position open".split()


def _grant(number: int, g: Grant) -> tuple[object, ...]:
    return (
        number,
        g.grant_id,
        g.origin,
        g.amount,
        g.remaining,
        g.effective_at,
        g.expires_at,
        g.position,
        g.is_open,
    )


async def _store_grants(connection: "Connection", accounts: Iterable[Account], numbers: Numbers) -> None:
    new = [_grant(numbers[a.account_id], g) for a in accounts for g in a.unstored.new_grants.values()]
    known = [
        (numbers[a.account_id], g.grant_id, g.amount, g.remaining, g.is_open)
        for a in accounts
        for g in a.unstored.changed_grants.values()
        if g.grant_id not in a.unstored.new_grants
    ]
    await _copy(connection, "grants", GRANT, new)
    await _update(connection, "store_grants", known)


PLAN = (
    "account_no position type source id plan_id monthly_credits seats email_accounts effective_at occurred_at pending"
).split()


def _plan(number: int, account: Account, p: Plan) -> tuple[object, ...]:
    return (
        number,
        p.cause.position,
        p.cause.type,
        p.cause.source,
        packed(p.cause.id),
        p.plan_id,
        p.monthly_credits,
        p.seats,
        p.email_accounts,
        p.effective_at,
        p.cause.occurred_at,
        p in account.pending,
    )


async def _store_plans(connection: "Connection", accounts: Iterable[Account], numbers: Numbers) -> None:
    await _copy(
        connection, "plans", PLAN, [_plan(numbers[a.account_id], a, p) for a in accounts for p in a.unstored.new_plans]
    )
    settled = [
        (numbers[a.account_id], p.cause.position, p.seats, p.email_accounts)
        for a in accounts
        for p in a.unstored.settled_plans
    ]
    await _update(connection, "store_settled_plans", settled)


PURCHASE = ("account_no", "purchase_id", "position")


async def _store_purchases(connection: "Connection", accounts: Iterable[Account], numbers: Numbers) -> None:
    new = [
        (numbers[a.account_id], purchase_id, position)
        for a in accounts
        for purchase_id, position in a.unstored.new_purchases.items()
    ]
    await _copy(connection, "purchases", PURCHASE, new)


ADJUSTMENT = "account_no position amount expires_at operator reason".split()


async def _store_adjustments(connection: "Connection", what: ToStore, numbers: Numbers) -> None:
    rows = [
        (numbers[a.account_id], a.position, a.amount, a.expires_at, a.operator, a.reason)
        for a in what.decided.adjustments
    ]
    await _copy(connection, "adjustments", ADJUSTMENT, rows)


REQUEST = ("account_no", "charge_sequence", "prospect_id", "position", "requested_at")


async def _store_requests(connection: "Connection", what: ToStore, numbers: Numbers) -> None:
    decided, now = what.decided, what.now
    new = [(numbers[r.account_id], r.charge_sequence, packed(r.prospect_id), r.position, now) for r in decided.requests]
    await _copy(connection, "refund_requests", REQUEST, new)
    overtaken = [(numbers[account_id], charge) for account_id, charge in decided.requests_overtaken]
    await _update(connection, "overtake_requests", overtaken, now)
    by_people = [
        (numbers[r.account_id], r.charge_sequence, r.status, r.position, r.operator, r.reason)
        for r in decided.decided_requests
    ]
    await _update(connection, "decide_requests", by_people, now)


PARKED = "account_no key content source id type occurred_at type_rank data partition offset parked_at".split()


async def _store_parked(connection: "Connection", what: ToStore, numbers: Numbers) -> None:
    def row(i: Incoming) -> tuple[object, ...]:
        number, data, rank = numbers[i.account_id], i.data.model_dump_json().encode(), TYPE_RANK[i.type]
        place = (i.place.partition, i.place.offset)
        return (number, i.key, i.content, i.source, i.id, i.type, i.occurred_at, rank, data, *place, what.now)

    await _copy(connection, "parked_events", PARKED, [row(i) for i in what.decided.parked])
    await _update(connection, "delete_parked_events", [(numbers[i.account_id], i.key) for i in what.decided.unparked])

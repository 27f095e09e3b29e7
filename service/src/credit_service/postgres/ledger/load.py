"""Loading of accounts for a batch: they are locked first, and later statements read rows as fresh as the lock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from credit_contracts.incoming import INCOMING, CreditsPurchased
from credit_contracts.naming import topic_name
from credit_contracts.partitioning import murmur2
from credit_service import bounds
from credit_service.application.errors import LedgerUnavailable
from credit_service.domain.account import Account
from credit_service.domain.command import Command, DecideRefund, OpenProspect, OpenPurchase
from credit_service.domain.decision import RefundRequest
from credit_service.domain.event import Cause, Incoming, Place, Wake
from credit_service.domain.grant import Grant
from credit_service.domain.plan import Plan
from credit_service.postgres.ids import packed, unpacked
from credit_service.postgres.instants import with_zone
from credit_service.postgres.ledger.account_row import Row, from_row
from credit_service.postgres.ledger.plans_needed import accounts_needing_parked, accounts_needing_plans
from credit_service.postgres.ledger.prospect_row import cause_of, from_columns
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg

    from credit_service.postgres.pool import Connection

PARTITION_HASH_MASK = 0x7FFFFFFF
CREDITS_PURCHASED = topic_name(CreditsPurchased)


def partition_hash(account_id: str) -> int:
    """The hash that decides the account's partition number: the positive murmur2 of its id, before the modulo."""
    return murmur2(account_id.encode()) & PARTITION_HASH_MASK


@dataclass(slots=True)
class Loaded:
    """Loaded accounts by id and by number, the number of each, and their rows as they were read.

    `accounts` also holds accounts that are not locked, because all inputs on them were decided before. `now` is the
    time of the database's clock.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    by_number: dict[int, Account] = field(default_factory=dict)
    now: datetime | None = None


async def load_accounts(
    connection: "Connection",
    inputs: Sequence[Incoming | Wake | Command],
    *,
    unparked_max: int,
    topic_prefix: str,
    expects_repeats: bool,
) -> Loaded:
    """Locks the accounts of `inputs` to the end of the transaction, and loads the rows that `inputs` need.

    Where repeats are expected, it looks them up first, and neither locks nor reads accounts that have only repeats.
    """
    loaded = Loaded()
    if expects_repeats:
        inputs = await _without_repeats(connection, loaded, inputs)
    names = sorted({item.account_id for item in inputs})
    if not names:
        return loaded
    for account_id, *row in await _lock(connection, names):
        account, number = from_row(account_id, row), row[0]
        loaded.accounts[account_id] = loaded.by_number[number] = account
        loaded.numbers[account_id], loaded.rows[account_id] = number, tuple(row)
    events = [item for item in inputs if isinstance(item, Incoming)]
    commands = [item for item in inputs if isinstance(item, Command)]
    if queueing := [e for e in events if loaded.accounts[e.account_id].parked]:
        await _load_parked_keys(connection, loaded, queueing)
    if waiting := accounts_needing_parked(loaded.by_number.values(), inputs):
        of_each = max(1, min(unparked_max, bounds.UNPARKED_PER_BATCH_MAX // len(waiting)))
        await _load_parked_events(connection, loaded, waiting, of_each, topic_prefix)
        events += [event for account in waiting for event in account.waiting]
    if commands:
        await _load_requests(connection, loaded, commands)
    await _load_decided(connection, loaded, [*events, *commands])
    new = [event for event in events if event.key not in loaded.accounts[event.account_id].decided]
    await _load_prospects(connection, loaded, new, commands)
    await _load_purchases(connection, loaded, new, commands)
    started = [account for account in loaded.by_number.values() if account.has_started]
    if started:
        await _load_grants(connection, loaded, started)
        await _load_plans(connection, loaded, accounts_needing_plans(started, inputs))
    return loaded


async def _without_repeats(
    connection: "Connection", loaded: Loaded, inputs: Sequence[Incoming | Wake | Command]
) -> Sequence[Incoming | Wake | Command]:
    """The inputs without those of accounts that have only repeats, which are loaded with the repeated keys alone."""
    events = [item for item in inputs if isinstance(item, Incoming)]
    contents: list[bytes | None] = [None] * len(events)
    for nth, content in await connection.fetch(
        sql("load_repeats"), [e.account_id for e in events], [e.key for e in events]
    ):
        contents[nth - 1] = content
    to_lock = {item.account_id for item in inputs if not isinstance(item, Incoming)}
    to_lock |= {event.account_id for event, content in zip(events, contents, strict=True) if content is None}
    for event, content in zip(events, contents, strict=True):
        if content is not None and event.account_id not in to_lock:
            account = loaded.accounts.get(event.account_id)
            if account is None:
                account = loaded.accounts[event.account_id] = Account(event.account_id)
            account.decided[event.key] = content
    return [item for item in inputs if item.account_id in to_lock]


async def take_expired(
    connection: "Connection",
    waiting_max: timedelta,
    numbers: Collection[int],
    partitions: int,
    limit: int,
    *,
    topic_prefix: str,
) -> list[Incoming]:
    """Deletes and returns the parked events older than `waiting_max`, under their accounts' locks."""
    rows = await connection.fetch(
        sql("accounts_with_expired_parked_events"), waiting_max, limit, partitions, list(numbers)
    )
    if not rows:
        return []
    names = sorted(row["account_id"] for row in rows)
    locked = {row["account_no"]: row["account_id"] for row in await connection.fetch(sql("lock_accounts"), names)}
    taken = await connection.fetch(sql("take_expired_parked_events"), list(locked), waiting_max, limit)
    return [_parked(locked[row["account_no"]], row, topic_prefix) for row in taken]


async def _lock(connection: "Connection", names: list[str]) -> "list[asyncpg.Record]":
    """Locks the accounts, and inserts the new ones.

    All members lock in one order, insert in one order, and lock no account after they have inserted one: so no two
    members deadlock. A member that finds an account inserted by another one meanwhile fails and retries.
    """
    rows: list[asyncpg.Record] = await connection.fetch(sql("lock_accounts"), names)
    if len(rows) == len(names):
        return rows
    known = {row["account_id"] for row in rows}
    new = [name for name in names if name not in known]
    opened: list[asyncpg.Record] = await connection.fetch(
        sql("insert_accounts"), new, [partition_hash(name) for name in new]
    )
    if len(opened) < len(new):
        raise LedgerUnavailable("another member has just opened an account")
    return rows + opened


async def _load_decided(connection: "Connection", loaded: Loaded, items: Sequence[Incoming | Command]) -> None:
    numbers = [loaded.numbers[item.account_id] for item in items]
    rows = await connection.fetch(sql("load_decided"), numbers, [item.key for item in items])
    loaded.now = rows[0]["now"]
    for _, nth, content, outcome in rows:
        if nth is not None:
            item = items[nth - 1]
            account = loaded.accounts[item.account_id]
            account.decided[item.key] = content
            account.outcomes[item.key] = outcome


async def _load_parked_keys(connection: "Connection", loaded: Loaded, events: list[Incoming]) -> None:
    numbers = [loaded.numbers[e.account_id] for e in events]
    for number, key, content in await connection.fetch(sql("load_parked_keys"), numbers, [e.key for e in events]):
        loaded.by_number[number].parked_keys[key] = content


async def _load_parked_events(
    connection: "Connection", loaded: Loaded, waiting: list[Account], unparked_max: int, topic_prefix: str
) -> None:
    """Loads the first `unparked_max` parked events of each account."""
    numbers = [loaded.numbers[account.account_id] for account in waiting]
    for row in await connection.fetch(sql("load_parked_events"), numbers, unparked_max):
        account = loaded.by_number[row["account_no"]]
        account.waiting.append(_parked(account.account_id, row, topic_prefix))
        account.parked_keys[row["key"]] = row["content"]
    for account in waiting:
        if account.waiting and len(account.waiting) < account.parked:
            account.waiting_until = account.waiting[-1].order


def _parked(account_id: str, row: "asyncpg.Record", topic_prefix: str) -> Incoming:
    event_type = row["type"]
    return Incoming(
        account_id,
        row["key"],
        row["content"],
        row["source"],
        row["id"],
        event_type,
        row["occurred_at"],
        INCOMING[event_type].model_validate_json(row["data"]),
        Place(topic_prefix + event_type, row["partition"], row["offset"]),
    )


async def _load_prospects(
    connection: "Connection", loaded: Loaded, events: list[Incoming], commands: list[Command]
) -> None:
    # By attribute, not by class: `isinstance` on a pydantic class is slow when the answer is no.
    named = ((event.account_id, getattr(event.data, "prospect_id", None)) for event in events)
    wanted = {(account_id, prospect_id) for account_id, prospect_id in named if prospect_id is not None}
    wanted |= {(c.account_id, c.data.prospect_id) for c in commands if isinstance(c.data, OpenProspect)}
    if commands:
        wanted |= {(a.account_id, r.prospect_id) for a in loaded.accounts.values() for r in a.requests.values()}
    if not wanted:
        return
    pairs = list(wanted)
    numbers, ids = (
        [loaded.numbers[account_id] for account_id, _ in pairs],
        [packed(prospect_id) for _, prospect_id in pairs],
    )
    for nth, rows in groupby(await connection.fetch(sql("load_prospects"), numbers, ids), key=itemgetter("nth")):
        account_id, prospect_id = pairs[nth - 1]
        history = []
        for row in rows:
            _, *columns, position, source, event_id, event_type, occurred_at, note = row
            if position is not None:
                history.append(
                    cause_of(position, source, unpacked(event_id), event_type, occurred_at, note, prospect_id)
                )
        account = loaded.accounts[account_id]
        account.prospects[prospect_id] = from_columns(prospect_id, history, *columns)
        account.stored_prospects.add(prospect_id)


async def _load_purchases(
    connection: "Connection", loaded: Loaded, events: list[Incoming], commands: list[Command]
) -> None:
    bought = (e for e in events if e.type == CREDITS_PURCHASED)
    wanted = {(e.account_id, e.data.purchase_id) for e in bought if isinstance(e.data, CreditsPurchased)}
    wanted |= {(c.account_id, c.data.purchase_id) for c in commands if isinstance(c.data, OpenPurchase)}
    if wanted:
        rows = [(loaded.numbers[account_id], purchase_id) for account_id, purchase_id in wanted]
        for number, purchase_id in await connection.fetch(sql("load_purchases"), *zip(*rows, strict=True)):
            loaded.by_number[number].purchases.add(purchase_id)


async def _load_requests(connection: "Connection", loaded: Loaded, commands: list[Command]) -> None:
    charges = [
        (loaded.numbers[c.account_id], c.data.charge_sequence) for c in commands if isinstance(c.data, DecideRefund)
    ]
    if charges:
        for number, charge, prospect, *columns in await connection.fetch(
            sql("load_requests"), *zip(*charges, strict=True)
        ):
            account = loaded.by_number[number]
            account.requests[charge] = RefundRequest(account.account_id, charge, unpacked(prospect), *columns)


async def _load_grants(connection: "Connection", loaded: Loaded, accounts: list[Account]) -> None:
    numbers = [loaded.numbers[account.account_id] for account in accounts]
    for number, *columns in await connection.fetch(sql("load_grants"), numbers):
        grant = Grant(*columns)
        grant.expires_at = with_zone(grant.expires_at)
        loaded.by_number[number].grants[grant.grant_id] = grant


async def _load_plans(connection: "Connection", loaded: Loaded, accounts: list[Account]) -> None:
    if not accounts:
        return
    in_force = [(loaded.numbers[account.account_id], account.plan_position) for account in accounts]
    rows = await connection.fetch(sql("load_plans"), *zip(*in_force, strict=True))
    for number, pending, plan_id, monthly_credits, seats, email_accounts, effective_at, *by in rows:
        position, source, event_id, event_type, occurred_at = by
        cause = Cause(position, source, unpacked(event_id), event_type, occurred_at)
        plan = Plan(plan_id, monthly_credits, seats, email_accounts, effective_at, cause)
        if pending:
            loaded.by_number[number].pending.append(plan)
        else:
            loaded.by_number[number].plan = plan

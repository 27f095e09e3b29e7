"""Accounts as a batch needs them: locked first, everything else read by later statements, so as fresh as the lock."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from credit_contracts.incoming import INCOMING, CreditsPurchased, PlanChanged
from credit_contracts.partitioning import murmur2
from credit_service.domain.account import Account
from credit_service.domain.command import Command, DecideRefund, OpenProspect, OpenPurchase
from credit_service.domain.decision import Cause, Incoming, Place, RefundRequest, Wake
from credit_service.domain.grant import Grant
from credit_service.domain.period import Calendar, Period
from credit_service.domain.plan import Plan
from credit_service.postgres.statements import sql
from credit_service.postgres.story import from_columns

if TYPE_CHECKING:
    import asyncpg

    from credit_service.postgres.pool import Connection

PARTITION_HASH_MASK = 0x7FFFFFFF
UNPARKED_PER_BATCH_MAX = 10_000


def partition_hash(account_id: str) -> int:
    """What decides the account's partition number: the positive murmur2 of its id, before the modulo."""
    return murmur2(account_id.encode()) & PARTITION_HASH_MASK


async def load_accounts(
    connection: "Connection", inputs: Sequence[Incoming | Wake | Command], *, unparked_max: int, topic_prefix: str
) -> dict[str, Account]:
    """The accounts that `inputs` name, locked to the end of the transaction, with what `inputs` ask for."""
    names = sorted({item.account_id for item in inputs})
    if not names:
        return {}
    rows = await _lock(connection, names)
    accounts = {row["account_id"]: _account(row) for row in rows}
    events = [item for item in inputs if isinstance(item, Incoming)]
    commands = [item for item in inputs if isinstance(item, Command)]
    waiting = [a.account_id for a in accounts.values() if a.parked]
    if waiting:
        await _load_parked_keys(connection, accounts, [e for e in events if accounts[e.account_id].parked])
        of_each = max(1, min(unparked_max, UNPARKED_PER_BATCH_MAX // len(waiting)))
        await _load_parked_events(connection, accounts, waiting, of_each, topic_prefix)
        events += [event for name in waiting for event in accounts[name].waiting]
    if commands:
        await _load_requests(connection, accounts, commands)
    await _load_decided(connection, accounts, [*events, *commands])
    await _load_prospects(connection, accounts, events, commands)
    await _load_purchases(connection, accounts, events, commands)
    started = {row["account_id"]: row["plan_position"] for row in rows if row["period_number"] is not None}
    if started:
        await _load_grants(connection, accounts, list(started))
        await _load_plans(connection, accounts, started)
    return accounts


async def take_expired(
    connection: "Connection",
    waiting_max: timedelta,
    numbers: Collection[int],
    partitions: int,
    limit: int,
    *,
    topic_prefix: str,
) -> list[Incoming]:
    """Takes out parked events that have waited for longer than `waiting_max`, under their accounts' locks."""
    rows = await connection.fetch(
        sql("accounts_with_expired_parked_events"), waiting_max, limit, partitions, list(numbers)
    )
    if not rows:
        return []
    names = sorted(row["account_id"] for row in rows)
    await connection.fetch(sql("lock_accounts"), names)
    taken = await connection.fetch(sql("take_expired_parked_events"), names, waiting_max, limit)
    return [_parked(row, topic_prefix) for row in taken]


async def _lock(connection: "Connection", names: list[str]) -> "list[asyncpg.Record]":
    await connection.execute(sql("open_accounts"), names, [partition_hash(name) for name in names])
    rows: list[asyncpg.Record] = await connection.fetch(sql("lock_accounts"), names)
    return rows


def _account(row: "asyncpg.Record") -> Account:
    account = Account(
        row["account_id"],
        balance=row["balance"],
        unlimited=row["unlimited"],
        sequence=row["sequence"],
        position=row["position"],
        last_grant_id=row["last_grant_id"],
        granted_in_period=row["granted_in_period"],
        declined_in_period=row["declined_in_period"],
        next_timer_at=row["next_timer_at"],
        parked=row["parked"],
    )
    if row["period_number"] is not None:
        account.calendar = Calendar(row["anchor_at"], row["time_zone"])
        account.period = Period(row["period_number"], row["period_starts_at"], row["period_ends_at"])
    return account


async def _load_decided(
    connection: "Connection", accounts: dict[str, Account], items: Sequence[Incoming | Command]
) -> None:
    rows = await connection.fetch(sql("load_decided"), [i.account_id for i in items], [i.key for i in items])
    for account_id, key, content, outcome in rows:
        accounts[account_id].decided[key] = content
        accounts[account_id].outcomes[key] = outcome


async def _load_parked_keys(connection: "Connection", accounts: dict[str, Account], events: list[Incoming]) -> None:
    rows = await connection.fetch(sql("load_parked_keys"), [e.account_id for e in events], [e.key for e in events])
    for account_id, key, content in rows:
        accounts[account_id].parked_keys[key] = content


async def _load_parked_events(
    connection: "Connection", accounts: dict[str, Account], names: list[str], unparked_max: int, topic_prefix: str
) -> None:
    """The first `unparked_max` events that wait, of each account."""
    for row in await connection.fetch(sql("load_parked_events"), names, unparked_max):
        account = accounts[row["account_id"]]
        account.waiting.append(_parked(row, topic_prefix))
        account.parked_keys[row["key"]] = row["content"]
    for name in names:
        account = accounts[name]
        if account.waiting and len(account.waiting) < account.parked:
            account.waiting_until = account.waiting[-1].order


def _parked(row: "asyncpg.Record", topic_prefix: str) -> Incoming:
    event_type = row["type"]
    return Incoming(
        row["account_id"],
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
    connection: "Connection", accounts: dict[str, Account], events: list[Incoming], commands: list[Command]
) -> None:
    asked = {
        (e.account_id, e.data.prospect_id) for e in events if not isinstance(e.data, PlanChanged | CreditsPurchased)
    }
    asked |= {(c.account_id, c.data.prospect_id) for c in commands if isinstance(c.data, OpenProspect)}
    if commands:
        asked |= {(a.account_id, r.prospect_id) for a in accounts.values() for r in a.requests.values()}
    if not asked:
        return
    account_ids, prospect_ids = zip(*asked, strict=True)
    for row in await connection.fetch(sql("load_prospects"), account_ids, prospect_ids):
        account_id, prospect_id, origin, charge, grant_id, refund, story, *decision = row
        position, source, event_id, event_type, occurred_at = decision
        told = None
        if position is not None:
            told = Cause(position, source, event_id, event_type, occurred_at, prospect_id)
        account = accounts[account_id]
        account.prospects[prospect_id] = from_columns(prospect_id, origin, charge, grant_id, refund, story, told)
        account.stored_prospects.add(prospect_id)


async def _load_purchases(
    connection: "Connection", accounts: dict[str, Account], events: list[Incoming], commands: list[Command]
) -> None:
    asked = {(e.account_id, e.data.purchase_id) for e in events if isinstance(e.data, CreditsPurchased)}
    asked |= {(c.account_id, c.data.purchase_id) for c in commands if isinstance(c.data, OpenPurchase)}
    if asked:
        for account_id, purchase_id in await connection.fetch(sql("load_purchases"), *zip(*asked, strict=True)):
            accounts[account_id].purchases.add(purchase_id)


async def _load_requests(connection: "Connection", accounts: dict[str, Account], commands: list[Command]) -> None:
    asked = [(c.account_id, c.data.charge_sequence) for c in commands if isinstance(c.data, DecideRefund)]
    if asked:
        for row in await connection.fetch(sql("load_requests"), *zip(*asked, strict=True)):
            request = RefundRequest(*row)
            accounts[request.account_id].requests[request.charge_sequence] = request


async def _load_grants(connection: "Connection", accounts: dict[str, Account], names: list[str]) -> None:
    for account_id, *columns in await connection.fetch(sql("load_grants"), names):
        grant = Grant(*columns)
        accounts[account_id].grants[grant.grant_id] = grant


async def _load_plans(connection: "Connection", accounts: dict[str, Account], in_force: dict[str, int]) -> None:
    rows = await connection.fetch(sql("load_plans"), list(in_force), list(in_force.values()))
    for row in rows:
        plan = Plan(
            row["plan_id"],
            row["monthly_credits"],
            row["seats"],
            row["email_accounts"],
            row["effective_at"],
            Cause(row["position"], row["source"], row["id"], row["type"], row["occurred_at"]),
        )
        if row["pending"]:
            accounts[row["account_id"]].pending.append(plan)
        else:
            accounts[row["account_id"]].plan = plan

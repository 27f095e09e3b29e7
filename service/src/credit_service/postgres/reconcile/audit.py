"""The reads of a reconciliation: the whole ledger in one snapshot, in blocks."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from credit_contracts.naming import topic_name
from credit_contracts.outgoing import SERVICE_SOURCE, InsufficientCredits
from credit_contracts.times import format_time
from credit_service import bounds
from credit_service.application.ports import TopicPartition
from credit_service.application.reconcile.ports import AuditedAccount, Pending, Span
from credit_service.domain.account import Account
from credit_service.domain.audit.history import History, RecordedAccount, RecordedPlan
from credit_service.domain.decision import Adjustment, Change, DecidedRequest, Decision
from credit_service.domain.event import Cause, Place
from credit_service.domain.grant import Grant
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.instants import with_zone
from credit_service.postgres.ledger.prospect_row import columns_of
from credit_service.postgres.reads.lookup import PostgresLookup
from credit_service.postgres.session import connect
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg

    from credit_service.postgres.pool import Connection

DECLINES = topic_name(InsufficientCredits)
AUDIT_SECONDS_MAX = 24 * 3600.0

# One snapshot may last for hours, and its statements scan whole tables.
SESSION = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "plan_cache_mode": "auto",
    "work_mem": "64MB",
}


@asynccontextmanager
async def open_audit(where: Address | str, topic_prefix: str) -> "AsyncGenerator[PostgresAudit]":
    """A snapshot that lasts as long as the context; raises `LedgerUnavailable`."""
    connection = await connect(where, **SESSION)
    try:
        # Closing the connection ends the transaction, which has written nothing.
        with translated_errors():
            await connection.transaction(isolation="repeatable_read", readonly=True).start()
        yield PostgresAudit(connection, topic_prefix)
    finally:
        await connection.close()


class PostgresAudit:
    """The application's `Audit` on one connection."""

    def __init__(self, connection: "Connection", topic_prefix: str) -> None:
        self.lookup = PostgresLookup(connection, topic_prefix)
        self._connection = connection
        self._topic_prefix = topic_prefix

    async def accounts(
        self, number: int, partitions: int, account_id: str | None
    ) -> AsyncGenerator[list[AuditedAccount]]:
        """See `application.reconcile.ports.Audit`; the decisions of a block fit into memory."""
        after = 0
        while True:
            rows = await self._fetch("audit_accounts", after, number, partitions, account_id, bounds.ACCOUNTS_READ_MAX)
            if not rows:
                return
            after = rows[-1]["account_no"]
            block: list[AuditedAccount] = []
            decisions = 0
            for row in rows:
                account = AuditedAccount(row["account_no"], row["account_id"], RecordedAccount(*row[2:]))
                if block and decisions + account.row.position > bounds.DECISIONS_READ_MAX:
                    yield block
                    block, decisions = [], 0
                block.append(account)
                decisions += account.row.position
            yield block

    async def histories(self, accounts: Sequence[AuditedAccount]) -> list[History]:
        """See `application.reconcile.ports.Audit`."""
        found = {account.number: History(account.account_id, account.row) for account in accounts}
        numbers = list(found)
        for row in await self._fetch("audit_decisions", numbers):
            history = found[row[0]]
            history.decisions[row[1]] = self._decision(history.account_id, row)
        for row in await self._fetch("audit_entries", numbers):
            _add_entry(found[row[0]], row)
        for number, grant_id, *rest in await self._fetch("audit_grants", numbers):
            grant = found[number].grants[grant_id] = Grant(grant_id, *rest)
            grant.expires_at = with_zone(grant.expires_at)
        for number, position, *rest in await self._fetch("audit_plans", numbers):
            found[number].plans[position] = RecordedPlan(*rest)
        for number, position, purchase_id in await self._fetch("audit_purchases", numbers):
            found[number].purchases[position] = purchase_id
        for number, charge, status, position, *words in await self._fetch("audit_refund_requests", numbers):
            history = found[number]
            history.requests[position] = DecidedRequest(history.account_id, charge, status, position, *words)
        for number, position, amount, expires_at, *words in await self._fetch("audit_adjustments", numbers):
            history = found[number]
            adjustment = Adjustment(history.account_id, position, amount, with_zone(expires_at), *words)
            history.adjustments[position] = adjustment
        return list(found.values())

    def _decision(self, account_id: str, row: "asyncpg.Record") -> Decision:
        _, position, key, content, source, event_id, event_type, outcome, occurred_at, decided_at, *rest = row
        partition, offset, prospect_id, declined_in_period, period_ends_at, note, as_it_stands = rest
        return Decision(
            account_id,
            position,
            key,
            content,
            source,
            event_id,
            event_type,
            outcome,
            occurred_at,
            decided_at,
            None if partition is None else Place(self._topic_prefix + event_type, partition, offset),
            prospect_id,
            declined_in_period,
            period_ends_at,
            note,
            bool(as_it_stands),
        )

    async def differing_prospects(self, made: Mapping[int, Account]) -> list[tuple[str, str, str]]:
        """See `application.reconcile.ports.Audit`. An empty row is equal to a missing one."""
        kept: dict[int, dict[str, tuple[Any, ...]]] = defaultdict(dict)
        for number, prospect_id, *columns in await self._fetch("audit_prospects", list(made)):
            kept[number][prospect_id] = tuple(columns)
        differing = []
        for number, account in made.items():
            by_rules = {p.prospect_id: columns_of(p) for p in account.prospects.values()}
            for prospect_id in sorted({*kept[number], *by_rules}):
                row, rule = kept[number].get(prospect_id), by_rules.get(prospect_id)
                if row != rule and not (_is_empty(row) and _is_empty(rule)):
                    differing.append((account.account_id, prospect_id, _difference(row, rule)))
        return differing

    async def touched(
        self, spans: Sequence[Span], start: datetime | None, end: datetime | None
    ) -> Collection[int] | None:
        """See `application.reconcile.ports.Audit`."""
        touched: set[int] = set()
        topics = [span.partition[0].removeprefix(self._topic_prefix) for span in spans]
        numbers = [span.partition[1] for span in spans]
        firsts, pasts = [span.first for span in spans], [span.end for span in spans]
        async for row in self._stream("audit_touched_accounts", topics, numbers, firsts, pasts, start, end):
            touched.add(row[0])
        return touched

    async def pending(self) -> dict[str, Pending]:
        """See `application.reconcile.ports.Audit`."""
        found: dict[str, Pending] = {}
        async for topic, event_id in self._stream("audit_outbox"):
            name, _, number = event_id.rpartition(":")
            is_decline = topic == DECLINES
            account_id = name.removesuffix(":d") if is_decline else name
            first = found.get(account_id, Pending())
            if is_decline and first.decline is None:
                found[account_id] = Pending(first.sequence, int(number))
            elif not is_decline and first.sequence is None:
                found[account_id] = Pending(int(number), first.decline)
        return found

    async def waiting_letters(self, spans: Sequence[Span]) -> AsyncGenerator[tuple[int, Place, str, str | None]]:
        """See `application.reconcile.ports.Audit`."""
        topics, numbers = [span.partition[0] for span in spans], [span.partition[1] for span in spans]
        firsts, pasts = [span.first for span in spans], [span.end for span in spans]
        rows = self._stream("audit_dead_letters", topics, numbers, firsts, pasts)
        async for letter_id, topic, partition, offset, reason, account_id in rows:
            yield letter_id, Place(topic, partition, offset), reason, account_id

    async def shared_keys(self) -> AsyncGenerator[tuple[str, str, list[str]]]:
        """See `application.reconcile.ports.Audit`."""
        async for source, event_id, accounts in self._stream("audit_shared_keys", SERVICE_SOURCE):
            yield source, event_id, accounts

    async def dropped_events(self) -> dict[str, str]:
        """See `application.reconcile.ports.Audit`."""
        rows = await self._fetch("audit_dropped_events")
        return {event_id: f"{operator} dropped it at {format_time(at)}: {why}" for event_id, operator, at, why in rows}

    async def made_anew(self) -> dict[TopicPartition, datetime]:
        """See `application.reconcile.ports.Audit`."""
        rows = await self._fetch("audit_recreated_topics")
        return {(row["topic"], row["partition"]): row["noticed_at"] for row in rows}

    async def repaired_events(self) -> set[str]:
        """See `application.reconcile.ports.Audit`."""
        return {row[0] for row in await self._fetch("audit_repaired_events")}

    async def _fetch(self, name: str, *arguments: object) -> "list[asyncpg.Record]":
        with translated_errors():
            rows: list[asyncpg.Record] = await self._connection.fetch(sql(name), *arguments, timeout=AUDIT_SECONDS_MAX)
        return rows

    async def _stream(self, name: str, *arguments: object) -> "AsyncGenerator[asyncpg.Record]":
        with translated_errors():
            cursor = await self._connection.cursor(sql(name), *arguments, timeout=AUDIT_SECONDS_MAX)
            while rows := await cursor.fetch(bounds.AUDIT_BLOCK_ROWS, timeout=AUDIT_SECONDS_MAX):
                for row in rows:
                    yield row


def _add_entry(history: History, row: "asyncpg.Record") -> None:
    """Adds a row of `entries` to its change, which has one row for each grant."""
    _, sequence, _, grant_id, amount, previous, balance, reason, position, refunds, ends_at, occurred, recorded = row
    change = history.changes.get(sequence)
    if change is None:
        decision = history.decisions.get(position)
        cause = (
            Cause(position, decision.source, decision.id, decision.type, decision.occurred_at, decision.prospect_id)
            if decision
            else Cause(position, "", "", "", occurred)
        )
        change = history.changes[sequence] = Change(
            history.account_id, sequence, previous, balance, reason, cause, [], 0, ends_at, occurred, recorded, refunds
        )
    if grant_id is not None:
        change.lines = [*change.lines, (grant_id, amount)]
        change.delta += amount


def _is_empty(columns: tuple[object, ...] | None) -> bool:
    return columns is None or (columns[1] == "{}" and columns[2] is columns[7] is columns[8] is None)


def _difference(row: tuple[object, ...] | None, rule: tuple[object, ...] | None) -> str:
    names = "origin told charge_sequence charge_grant_id refund_sequence charge_at stay charges closed_until".split()
    if row is None or rule is None:
        return "its row is missing" if row is None else "its row is of no decision"
    pairs = zip(names, row, rule, strict=True)
    return "; ".join(f"{name} is {kept}, and by the rules {made}" for name, kept, made in pairs if kept != made)

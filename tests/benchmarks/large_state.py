"""A ledger of any size, filled without the service: as the service would leave it after the same events.

Each account has a first plan, and then so many prospects that were generated and charged. Rows lie in the order of
time, an account's among all others'. What needs the service's hashes is copied in, the rest follows from it by SQL.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.mix import MONTHLY_CREDITS, PAST, SOURCE
from credit_contracts import PlanChanged
from credit_contracts.topics import PARTITIONS
from credit_service.domain.idempotency import CONTENT_VERSION, content_of, key_of
from credit_service.domain.period import Calendar
from credit_service.postgres.ids import packed
from credit_service.postgres.ledger.load import partition_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

STATEMENT_SECONDS_MAX = 1_200
PLAN, GENERATED = "plan-changed", "prospect-generated"
# All of it before the first event of a mix, and within the plan's first month.
BEFORE_MIX = timedelta(hours=2)
STEP = timedelta(microseconds=100)
DECIDED_AFTER = timedelta(seconds=1)
# Prospects that are told of, for a backlog to come back to.
KNOWN_MAX = 100_000


@dataclass(frozen=True, slots=True)
class State:
    """How much is filled in."""

    accounts: int
    charges_each: int = 0

    @property
    def entries(self) -> int:
        """Of the whole ledger: an account's plan is one, and each of its charges."""
        return self.accounts * (1 + self.charges_each)


@dataclass(frozen=True, slots=True)
class Filled:
    """What is there now: all accounts, some of the charged prospects with their accounts, and what it took."""

    accounts: list[str]
    charged: list[tuple[str, str]]
    seconds: float
    bytes: int


TABLES = ["credits.accounts", "credits.decisions", "credits.plans", "credits.grants", "credits.entries"]


async def fill(database_url: str, state: State, *, began: datetime | None = None, seed: int = 0) -> Filled:
    """Fills a migrated, empty database; the first event occurred when it `began`."""
    clock, history = time.monotonic(), History(state, began or datetime.now(UTC) - PAST - BEFORE_MIX, seed)
    connection = await asyncpg.connect(
        database_url, command_timeout=STATEMENT_SECONDS_MAX, server_settings={"maintenance_work_mem": "1GB"}
    )
    try:
        keys = await _drop_keys(connection)
        await _copy(connection, "accounts", ACCOUNT, history.account_rows())
        history.numbers = dict(await connection.fetch("SELECT account_id, account_no FROM credits.accounts"))
        await _copy(connection, "decisions", DECISION, chain(history.plan_decisions(), history.charge_decisions()))
        for statement in (FILL_PLANS, FILL_GRANTS, FILL_ENTRIES, FILL_PROSPECTS):
            await connection.execute(statement)
        for key in keys:
            await _add_key(connection, key)
        # An empty table is not looked at by autovacuum, and has no statistics.
        tables = [*TABLES, "credits.prospects"] if state.charges_each else TABLES
        await connection.execute(f"VACUUM (ANALYZE) {', '.join(tables)}")
        await connection.execute("CHECKPOINT")
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()
    return Filled(history.accounts, history.known, time.monotonic() - clock, size)


ACCOUNT = (
    "account_id partition_hash balance sequence position last_grant_id plan_position anchor_at time_zone "
    "period_number period_starts_at period_ends_at granted_in_period next_timer_at"
).split()
DECISION = (
    "account_no position key content content_version source id type outcome occurred_at decided_at partition offset "
    "prospect_id"
).split()


class History:
    """The events that the accounts have behind them, as rows."""

    def __init__(self, state: State, began: datetime, seed: int) -> None:
        self._random = random.Random(seed)
        self._state = state
        self._began = began
        self._offset = 0
        self._known_share = KNOWN_MAX / state.entries
        self.accounts = [self._new_id() for _ in range(state.accounts)]
        self.known: list[tuple[str, str]] = []
        self.numbers: dict[str, int] = {}
        self._hashes = [partition_hash(account) for account in self.accounts]

    def account_rows(self) -> Iterator[tuple[object, ...]]:
        """As they stand after their last charge."""
        charges = self._state.charges_each
        for number, (account, its_hash) in enumerate(zip(self.accounts, self._hashes, strict=True)):
            anchor = self._began + number * STEP
            period = Calendar(anchor, "UTC").period(0)
            yield (
                account, its_hash, MONTHLY_CREDITS - charges, 1 + charges, 1 + charges, 1, 1, anchor, "UTC",
                period.number, period.starts_at, period.ends_at, MONTHLY_CREDITS, period.ends_at
            )  # fmt: skip

    def plan_decisions(self) -> Iterator[tuple[object, ...]]:
        """The first decision of each account."""
        for number, account in enumerate(self.accounts):
            data = PlanChanged(account_id=account, plan_id="bench", monthly_credits=MONTHLY_CREDITS)
            yield self._decision(number, 1, PLAN, content_of(PLAN, data), "plan-in-force", None)

    def charge_decisions(self) -> Iterator[tuple[object, ...]]:
        """All others, in the order of time: round after round through all accounts."""
        for position in range(2, 2 + self._state.charges_each):
            for number, account in enumerate(self.accounts):
                prospect = self._new_id()
                if self._random.random() < self._known_share:
                    self.known.append((account, prospect))
                # `content_of`, without a model for each of millions.
                known = f'{{"account_id":"{account}","prospect_id":"{prospect}"}}'
                content = blake2b(f"{GENERATED}\n{known}".encode(), digest_size=16).digest()
                yield self._decision(number, position, GENERATED, content, "charged", prospect)

    def _decision(
        self, number: int, position: int, event_type: str, content: bytes, outcome: str, prospect: str | None
    ) -> tuple[object, ...]:
        event_id = self._new_id()
        at = self._began + self._offset * STEP
        self._offset += 1
        return (
            self.numbers[self.accounts[number]], position, key_of(SOURCE, event_id), content, CONTENT_VERSION, SOURCE,
            packed(event_id), event_type, outcome, at, at + DECIDED_AFTER, self._hashes[number] % PARTITIONS,
            self._offset, packed(prospect) if prospect else None
        )  # fmt: skip

    def _new_id(self) -> str:
        """A UUID as text."""
        digits = f"{self._random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


FILL_PLANS = """
INSERT INTO credits.plans (account_no, position, plan_id, monthly_credits, effective_at, occurred_at, pending,
    type, source, id)
SELECT account_no, plan_position, 'bench', granted_in_period, anchor_at, anchor_at, false, d.type, d.source, d.id
FROM credits.accounts AS a JOIN credits.decisions AS d USING (account_no)
WHERE d.position = a.plan_position
"""
FILL_GRANTS = """
INSERT INTO credits.grants (account_no, grant_id, origin, amount, remaining, effective_at, expires_at, open, position)
SELECT account_no, last_grant_id, 'plan', granted_in_period, balance, anchor_at, period_ends_at, true, plan_position
FROM credits.accounts
"""
# The plan is the first change of each account, and each decision after it one more.
FILL_ENTRIES = """
INSERT INTO credits.entries (account_no, sequence, line, grant_id, amount, previous_balance, balance, reason, position,
    period_ends_at, occurred_at, recorded_at)
SELECT account_no, d.position, 0, a.last_grant_id,
    CASE d.position WHEN 1 THEN a.granted_in_period ELSE -1 END,
    CASE d.position WHEN 1 THEN 0 ELSE a.granted_in_period - d.position + 2 END,
    a.granted_in_period - d.position + 1,
    (CASE d.position WHEN 1 THEN 'plan_change' ELSE 'charge' END)::credits.change_reason,
    d.position, a.period_ends_at, d.occurred_at, d.decided_at
FROM credits.decisions AS d JOIN credits.accounts AS a USING (account_no)
"""
FILL_PROSPECTS = """
INSERT INTO credits.prospects (account_no, prospect_id, origin, told, stay, charge_sequence, charge_grant_id)
SELECT account_no, prospect_id, 'generated', format('{%s}', position), 1, position, 1
FROM credits.decisions
WHERE prospect_id IS NOT NULL
"""


async def _copy(
    connection: asyncpg.Connection, table: str, columns: list[str], rows: Iterator[tuple[object, ...]]
) -> None:
    await connection.copy_records_to_table(
        table, schema_name="credits", columns=columns, records=rows, timeout=STATEMENT_SECONDS_MAX
    )


# Of the tables that become large. Rows come in much faster without them, and all are checked when they are back.
KEYS = """
SELECT conrelid::regclass::text AS table, conname AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE contype IN ('p', 'u') AND conrelid = any('{credits.decisions, credits.entries, credits.prospects}'::regclass[])
ORDER BY conrelid, contype
"""
# As full as inserts in no order leave the pages of an index.
FILLFACTOR = 70


async def _drop_keys(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    keys: list[asyncpg.Record] = await connection.fetch(KEYS)
    for key in keys:
        await connection.execute(f"ALTER TABLE {key['table']} DROP CONSTRAINT {key['name']}")
    return keys


async def _add_key(connection: asyncpg.Connection, key: asyncpg.Record) -> None:
    await connection.execute(
        f"ALTER TABLE {key['table']} ADD CONSTRAINT {key['name']} {key['definition']} WITH (fillfactor = {FILLFACTOR})"
    )
    await connection.execute(f"ALTER INDEX credits.{key['name']} RESET (fillfactor)")

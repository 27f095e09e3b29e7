"""A ledger filled without a broker, observed in tables that `explain` does not read."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import asyncpg

from credit_contracts import Event, IncomingData, encode
from credit_service.application import ports
from credit_service.application.commands.execute import execute
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain.account import Account
from credit_service.domain.command import CommandData, command_of
from credit_service.domain.event import Incoming, Place, Wake
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from credit_service.testing.memory import MemoryLedger

_ids = count()


@dataclass(frozen=True)
class Stood:
    """An account at one moment; `held` is what remains of each grant that has anything left."""

    unlimited: bool
    balance: int
    sequence: int
    position: int
    held: tuple[tuple[int, int], ...]


@dataclass
class Watched(ABC):
    """A ledger; `seen` is what stood after each step, by account, with the clock's time then."""

    ledger: ports.Ledger
    processor: Processor
    seen: list[tuple[datetime, dict[str, Stood]]] = field(default_factory=list, kw_only=True)

    async def take(self, records: Sequence[Record]) -> None:
        """Decides them in one transaction."""
        await self.processor.process(records, asyncio.Event())
        await self.look()

    async def wake(self, wakes: Sequence[Wake]) -> None:
        """Lets timers happen."""
        await self.processor.wake(wakes, asyncio.Event())
        await self.look()

    async def order(self, account_id: str, data: CommandData) -> str:
        """Has a command obeyed; its outcome."""
        (answer,) = await execute(self.ledger, Rules(), [command_of(account_id, data, f"ticket-{next(_ids)}")])
        await self.look()
        return answer.outcome

    @abstractmethod
    async def look(self) -> None:
        """Notes how all accounts stand."""

    @abstractmethod
    async def waiting_requests(self) -> list[tuple[str, int]]:
        """The refund requests that wait for a person: account and charge, in this order."""


@dataclass
class Ledger(Watched):
    """One database."""

    connection: asyncpg.Connection[Any]

    async def look(self) -> None:
        """See `Watched`: what their rows and their grants say."""
        async with self.connection.transaction(isolation="repeatable_read", readonly=True):
            now = await self.connection.fetchval("SELECT credits.ledger_now()")
            accounts = await self.connection.fetch("SELECT * FROM credits.accounts")
            grants = await self.connection.fetch(
                "SELECT account_no, grant_id, remaining FROM credits.grants WHERE remaining > 0"
            )
        held: dict[int, dict[int, int]] = {}
        for row in grants:
            held.setdefault(row["account_no"], {})[row["grant_id"]] = row["remaining"]
        stood = {
            a["account_id"]: Stood(
                a["unlimited"],
                a["balance"],
                a["sequence"],
                a["position"],
                tuple(sorted(held.get(a["account_no"], {}).items())),
            )
            for a in accounts
        }
        self.seen.append((now, stood))

    async def waiting_requests(self) -> list[tuple[str, int]]:
        """See `Watched`."""
        rows = await self.connection.fetch(
            "SELECT account_id, charge_sequence FROM credits.refund_requests JOIN credits.accounts USING (account_no)"
            " WHERE status = 'waiting' ORDER BY account_id, charge_sequence"
        )
        return [(row["account_id"], row["charge_sequence"]) for row in rows]


@dataclass
class LedgerInMemory(Watched):
    """No database: a transaction for each event costs next to nothing."""

    ledger: MemoryLedger

    @classmethod
    def empty(cls) -> LedgerInMemory:
        """One that knows of no account."""
        ledger = MemoryLedger(datetime.now(UTC))
        return cls(ledger, Processor(ledger, Rules(), moves_offsets=False))

    async def look(self) -> None:
        """See `Watched`."""
        rows = [kept.row for kept in self.ledger.accounts.values()]
        stood = {row.account_id: _stood(row) for row in rows}
        self.seen.append((self.ledger.now, stood))

    async def waiting_requests(self) -> list[tuple[str, int]]:
        """See `Watched`."""
        return sorted(
            (account_id, request.charge_sequence)
            for account_id, kept in self.ledger.accounts.items()
            for request in kept.requests.values()
            if request.status == "waiting"
        )


def _stood(row: Account) -> Stood:
    held = tuple(sorted((number, grant.remaining) for number, grant in row.grants.items() if grant.remaining))
    return Stood(row.unlimited, row.balance, row.sequence, row.position, held)


@asynccontextmanager
async def ledger_of(url: str) -> AsyncIterator[Ledger]:
    """The ledger in the database at `url`."""
    connection = await asyncpg.connect(url)
    try:
        async with open_pool(url) as pool:
            ledger = PostgresLedger(pool, unparked_max=1_000)
            yield Ledger(ledger, Processor(ledger, Rules(), moves_offsets=False), connection)
    finally:
        await connection.close()


def records_of(events: Sequence[Event[IncomingData]]) -> list[Record]:
    """The events as records of one partition a topic, from offset 0 on."""
    offsets: dict[str, count[int]] = {}
    records = []
    for event in events:
        encoded = encode(event)
        place = Place(event.type, 0, next(offsets.setdefault(event.type, count())))
        records.append(read_record(place, event.type, encoded.key, encoded.value, encoded.headers, 0))
    return records


def incoming(record: Record) -> Incoming:
    """The event of a record that can be read."""
    assert isinstance(record.content, Incoming)
    return record.content

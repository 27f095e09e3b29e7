"""The ledger in Postgres: transactions that lock, load and store."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.errors import OffsetsMoved
from credit_service.application.ports import TopicPartition, ToStore
from credit_service.application.processing.timer_sweep import TIMER_GRACE
from credit_service.domain.account import Account
from credit_service.domain.command import Command
from credit_service.domain.event import Incoming, Wake
from credit_service.postgres.faults import translated_errors, translated_value_errors
from credit_service.postgres.ledger.load import Loaded, load_accounts, partition_hash, take_expired
from credit_service.postgres.ledger.store import store
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Connection, Pool


class PostgresLedger:
    """The application's `Ledger` in Postgres; `unparked_max` parked events of an account are loaded at a time.

    `topic_prefix` is the prefix of this deployment's topics. `letter_bytes_per_day` bounds the bytes that are kept of a
    topic's dead letters of a day.
    """

    def __init__(
        self, pool: "Pool", *, unparked_max: int, topic_prefix: str = "", letter_bytes_per_day: int | None = None
    ) -> None:
        self._pool = pool
        self._unparked_max = unparked_max
        self._topic_prefix = topic_prefix
        self._repeats = RepeatForecast()
        self._letter_bytes_per_day = letter_bytes_per_day

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> "AsyncIterator[PostgresTransaction]":
        """A READ COMMITTED transaction; committed at the end, rolled back on an exception or without `keep`."""
        with translated_errors():
            async with (
                self._pool.acquire() as connection,
                connection.transaction() if keep else rolled_back(connection),
            ):
                yield PostgresTransaction(
                    connection, self._unparked_max, self._topic_prefix, self._repeats, self._letter_bytes_per_day
                )

    async def accounts_with_due_timers(
        self, passed_at: Mapping[int, datetime | None], partitions: int, limit: int
    ) -> list[tuple[str, datetime]]:
        """See `application.ports.Ledger`."""
        times = [passed_at.get(number) for number in range(partitions)]
        at_end = [number in passed_at and passed_at[number] is None for number in range(partitions)]
        with translated_errors():
            rows = await self._pool.fetch(
                sql("accounts_with_due_timers"), times, at_end, partitions, TIMER_GRACE, limit
            )
        return [(row["account_id"], row["up_to"]) for row in rows]

    async def accounts_to_unpark(self, limit: int) -> list[str]:
        """See `application.ports.Ledger`."""
        with translated_errors():
            rows = await self._pool.fetch(sql("accounts_to_unpark"), limit)
        return [row["account_id"] for row in rows]

    async def accounts_behind(self, account_ids: Collection[str], fresh: timedelta) -> dict[str, datetime]:
        """See `application.ports.Ledger`."""
        hashes = [partition_hash(account_id) for account_id in account_ids]
        with translated_errors():
            rows = await self._pool.fetch(sql("accounts_behind"), [*account_ids], hashes, fresh)
        return {row["account_id"]: row["read_until"] for row in rows}


@asynccontextmanager
async def rolled_back(connection: "Connection") -> AsyncIterator[None]:
    """A transaction that is rolled back at its end."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


class RepeatForecast:
    """A forecast from the last batch: whether most of the next events were decided before, as in a replay."""

    def __init__(self) -> None:
        self.are_expected = False

    def note(self, inputs: Sequence[Incoming | Wake | Command], accounts: Mapping[str, Account]) -> None:
        """Counts the repeats among the loaded events of a batch."""
        events = [item for item in inputs if isinstance(item, Incoming)]
        if events:
            repeats = sum(event.key in accounts[event.account_id].decided for event in events)
            self.are_expected = 2 * repeats > len(events)


class PostgresTransaction:
    """The application's `LedgerTransaction` on one connection."""

    def __init__(
        self,
        connection: "Connection",
        unparked_max: int,
        topic_prefix: str,
        repeats: RepeatForecast,
        letter_bytes_per_day: int | None = None,
    ) -> None:
        self._connection = connection
        self._unparked_max = unparked_max
        self._topic_prefix = topic_prefix
        self._repeats = repeats
        self._loaded = Loaded()
        self._letter_bytes_per_day = (
            bounds.LETTER_BYTES_PER_DAY if letter_bytes_per_day is None else letter_bytes_per_day
        )

    async def lock_offsets(self, expected: Mapping[TopicPartition, int]) -> None:
        """See `application.ports.LedgerTransaction`."""
        if not expected:
            return
        topics, numbers = zip(*expected, strict=True)
        rows = await self._connection.fetch(sql("lock_offsets"), topics, numbers)
        stored = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
        if stored != dict(expected):
            raise OffsetsMoved

    async def lock_and_load(self, inputs: Sequence[Incoming | Wake | Command]) -> dict[str, Account]:
        """See `application.ports.LedgerTransaction`."""
        with translated_value_errors():
            self._loaded = await load_accounts(
                self._connection,
                inputs,
                unparked_max=self._unparked_max,
                topic_prefix=self._topic_prefix,
                expects_repeats=self._repeats.are_expected,
            )
        self._repeats.note(inputs, self._loaded.accounts)
        return self._loaded.accounts

    async def now(self) -> datetime:
        """See `application.ports.LedgerTransaction`."""
        if self._loaded.now is not None:
            return self._loaded.now
        now: datetime = await self._connection.fetchval(sql("now"))
        return now

    async def take_expired(
        self, waiting_max: timedelta, numbers: Collection[int], partitions: int, limit: int
    ) -> list[Incoming]:
        """See `application.ports.LedgerTransaction`."""
        with translated_value_errors():
            return await take_expired(
                self._connection, waiting_max, numbers, partitions, limit, topic_prefix=self._topic_prefix
            )

    async def store(self, what: ToStore) -> None:
        """See `application.ports.LedgerTransaction`."""
        with translated_value_errors():
            await store(self._connection, what, self._loaded, self._letter_bytes_per_day)

"""Dead letters: the waiting ones, the transactions that end them, and their read side."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from credit_contracts.envelope import MAX_VALUE_BYTES
from credit_service import bounds
from credit_service.application.dead_letters.left_out import LeftOut
from credit_service.application.dead_letters.model import (
    LetterGroup,
    LetterHeader,
    LetterLine,
    LetterRecord,
    Letters,
    LetterState,
    ShownLetter,
    bytes_shown,
)
from credit_service.application.kept_record import headers_from_json
from credit_service.application.queries import ReadPlace
from credit_service.application.record import kafka_time, read_record, shown
from credit_service.domain.event import Place
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.ledger.ledger import PostgresTransaction, RepeatForecast, rolled_back
from credit_service.postgres.session import CONNECT_TIMEOUT_SECONDS
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg

    from credit_service.postgres.pool import Connection, Pool


class PostgresDeadLetters:
    """The application's `LetterStore` and `LetterReads` in Postgres; `topic_prefix` is this deployment's."""

    def __init__(self, pool: "Pool", *, unparked_max: int, topic_prefix: str = "") -> None:
        self._pool = pool
        self._unparked_max = unparked_max
        self._topic_prefix = topic_prefix

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> "AsyncIterator[PostgresLetterTransaction]":
        """See `application.dead_letters.model.LetterStore`."""
        with translated_errors():
            async with (
                self._pool.acquire() as connection,
                connection.transaction() if keep else rolled_back(connection),
            ):
                yield PostgresLetterTransaction(connection, self._unparked_max, self._topic_prefix)

    async def waiting(self, which: Letters, up_to: int) -> AsyncGenerator[list[LetterRecord]]:
        """See `application.dead_letters.model.LetterStore`."""
        arguments = (up_to, self._topic(which), which.reason, _listed(which.ids), MAX_VALUE_BYTES)
        async for rows in self._blocks("read_waiting_dead_letters", arguments, bounds.LETTER_BLOCK_ROWS):
            yield [_letter(row, self._topic_prefix) for row in rows]

    async def last_id(self) -> int:
        """See `application.dead_letters.model.LetterStore`."""
        with translated_errors():
            number: int = await self._pool.fetchval(sql("read_last_dead_letter_id"))
        return number

    async def states(self, ids: Sequence[int]) -> dict[int, LetterState]:
        """See `application.dead_letters.model.LetterStore`."""
        with translated_errors():
            rows = await self._pool.fetch(sql("read_dead_letter_states"), list(ids))
        return {row[0]: LetterState(*row[1:]) for row in rows}

    async def waiting_ids(self, which: Letters, after: int, up_to: int, limit: int) -> list[int]:
        """See `application.dead_letters.model.LetterStore`."""
        with translated_errors():
            rows = await self._pool.fetch(
                sql("read_waiting_dead_letter_ids"), after, up_to, self._topic(which), which.reason, limit
            )
        return [row[0] for row in rows]

    async def discard(self, ids: Sequence[int], operator: str, comment: str) -> list[int]:
        """See `application.dead_letters.model.LetterStore`."""
        with translated_errors():
            rows = await self._pool.fetch(sql("discard_dead_letters"), list(ids), operator, comment)
        return [row[0] for row in rows]

    async def erase(self, ids: Sequence[int], operator: str) -> list[int]:
        """See `application.dead_letters.model.LetterStore`."""
        with translated_errors():
            rows = await self._pool.fetch(sql("erase_dead_letters"), list(ids), operator)
        return [row[0] for row in rows]

    async def groups(self, which: Letters, *, waiting_only: bool) -> list[LetterGroup]:
        """See `application.dead_letters.model.LetterReads`."""
        with translated_errors():
            rows = await self._pool.fetch(
                sql("read_dead_letter_groups"), self._topic(which), which.reason, waiting_only
            )
        return [LetterGroup(**dict(row) | {"topic": self._named(row["topic"])}) for row in rows]

    async def lines(self, which: Letters, *, waiting_only: bool, limit: int) -> AsyncGenerator[list[LetterLine]]:
        """See `application.dead_letters.model.LetterReads`."""
        arguments = (self._topic(which), which.reason, waiting_only, limit)
        async for rows in self._blocks("read_dead_letters", arguments, bounds.LETTER_LINES_BLOCK_ROWS):
            yield [LetterLine(**row, place=self._place(row)) for row in rows]

    async def letter(self, dead_letter_id: int) -> ShownLetter | None:
        """See `application.dead_letters.model.LetterReads`."""
        with translated_errors():
            row = await self._pool.fetchrow(sql("read_dead_letter"), dead_letter_id)
        if row is None:
            return None
        try:
            kafka_at = kafka_time(row["timestamp_ms"]) if row["timestamp_ms"] >= 0 else None
        except OverflowError:
            kafka_at = None
        readable = {
            "place": self._place(row),
            "kafka_at": kafka_at,
            "key": bytes_shown(row["key"]),
            "value": bytes_shown(row["value"]),
            "headers": [
                LetterHeader(name=shown(n), value=bytes_shown(v)) for n, v in headers_from_json(row["headers"])
            ],
        }
        return ShownLetter(**dict(row) | readable)

    async def _blocks(self, name: str, arguments: Sequence[Any], size: int) -> "AsyncGenerator[list[asyncpg.Record]]":
        """The rows of a statement from a cursor, `size` at a time."""
        with translated_errors():
            async with (
                self._pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS) as connection,
                connection.transaction(readonly=True),
            ):
                cursor = await connection.cursor(sql(name), *arguments)
                while rows := await cursor.fetch(size):
                    yield rows

    def _topic(self, which: Letters) -> str | None:
        return None if which.topic is None else self._topic_prefix + which.topic

    def _named(self, topic: str) -> str:
        return topic.removeprefix(self._topic_prefix)

    def _place(self, row: "asyncpg.Record") -> ReadPlace:
        return ReadPlace(topic=self._named(row["topic"]), partition=row["partition"], offset=row["offset"])


class PostgresLetterTransaction(PostgresTransaction):
    """The application's `LetterTransaction` on one connection."""

    def __init__(self, connection: "Connection", unparked_max: int, topic_prefix: str) -> None:
        super().__init__(connection, unparked_max, topic_prefix, RepeatForecast())

    async def lock_letters(self, ids: Sequence[int]) -> list[LetterRecord]:
        """See `application.dead_letters.model.LetterTransaction`."""
        rows = await self._connection.fetch(sql("lock_dead_letters"), list(ids))
        return [_letter(row, self._topic_prefix) for row in rows]

    async def resolve_letters(self, outcomes: Sequence[tuple[int, str]], operator: str, comment: str) -> None:
        """See `application.dead_letters.model.LetterTransaction`."""
        if outcomes:
            await self._connection.execute(
                sql("resolve_dead_letters"), *map(list, zip(*outcomes, strict=True)), operator, comment
            )

    async def fail_letters(self, failures: Sequence[tuple[int, str, str]]) -> None:
        """See `application.dead_letters.model.LetterTransaction`."""
        if failures:
            ids, reasons, details = zip(*failures, strict=True)
            bounded = [detail[: bounds.LETTER_DETAIL_CHARACTERS_MAX] for detail in details]
            await self._connection.execute(sql("fail_dead_letters"), list(ids), list(reasons), bounded)


def _letter(row: "asyncpg.Record", topic_prefix: str) -> LetterRecord:
    dead_letter_id, topic, partition, offset, key, value, headers, timestamp_ms, is_erased, sha256, value_bytes = row
    event_type = topic.removeprefix(topic_prefix)
    headers = headers_from_json(headers)
    record = read_record(Place(topic, partition, offset), event_type, key, value, headers, timestamp_ms)
    if sha256 is None:
        return LetterRecord(dead_letter_id, record, is_erased)
    left_out = LeftOut(sha256, value_bytes or 0)
    record.size_bytes += left_out.size_bytes
    return LetterRecord(dead_letter_id, record, is_erased, left_out)


def _listed(ids: Sequence[int] | None) -> list[int] | None:
    return None if ids is None else list(ids)

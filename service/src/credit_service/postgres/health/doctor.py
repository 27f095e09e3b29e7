"""The facts that the doctor reads from the database."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from credit_service import bounds
from credit_service.application.doctor.doctor import CHECK_SECONDS_MAX
from credit_service.application.doctor.facts import (
    BacklogFacts,
    BeingOpened,
    Denied,
    Filling,
    Gap,
    OpenOperation,
    ParkedFacts,
    ServerFacts,
    SetAside,
    Unreachable,
    WaitingLetters,
)
from credit_service.application.errors import AccessDenied, LedgerUnavailable, NoPassword, SessionsShared
from credit_service.application.ports import Positions, TopicPartition
from credit_service.domain.room import FILLING
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.schema import schema_problem
from credit_service.postgres.session import connect
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    import asyncpg

    from credit_service.postgres.pool import Pool

GRANT = "see that CREDITS_READ_DATABASE_URL names a member of credits_reader, and with the right password"


class PostgresFacts:
    """The application's `DatabaseFacts`."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def server(self) -> ServerFacts:
        """See `application.doctor.facts.DatabaseFacts`."""
        return ServerFacts(*await self._row("doctor_server"))

    async def schema_problem(self) -> str | None:
        """See `application.doctor.facts.DatabaseFacts`."""
        with _unreachable():
            return await schema_problem(self._pool)

    async def now(self) -> datetime:
        """See `application.doctor.facts.DatabaseFacts`."""
        now: datetime = (await self._row("now"))[0]
        return now

    async def stored(self, partitions: Collection[TopicPartition]) -> Positions:
        """See `application.doctor.facts.DatabaseFacts`."""
        with _unreachable():
            return await PostgresOffsetStore(self._pool).load(partitions)

    async def topic_ids(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, UUID]:
        """See `application.doctor.facts.DatabaseFacts`."""
        with _unreachable():
            return await PostgresOffsetStore(self._pool).topic_ids(partitions)

    async def outbox(self) -> BacklogFacts:
        """See `application.doctor.facts.DatabaseFacts`."""
        return BacklogFacts(*await self._row("doctor_outbox", bounds.COUNTED_MAX, bounds.OLDEST_LOOKED_AT_MAX))

    async def set_aside(self) -> list[SetAside]:
        """See `application.doctor.facts.DatabaseFacts`."""
        rows = await self._rows("read_set_aside", None, bounds.DOCTOR_ROWS_MAX, bounds.COUNTED_MAX)
        return [SetAside(*(row[name] for name in SetAside._fields)) for row in rows]

    async def claim_seconds(self) -> float | None:
        """See `application.doctor.facts.DatabaseFacts`."""
        rows = await self._rows("doctor_claim")
        return rows[0][0] if rows else None

    async def parked(self) -> ParkedFacts:
        """See `application.doctor.facts.DatabaseFacts`."""
        return ParkedFacts(*await self._row("doctor_parked"))

    async def openings(self) -> list[BeingOpened]:
        """See `application.doctor.facts.DatabaseFacts`."""
        return [BeingOpened(*row) for row in await self._rows("doctor_openings", bounds.DOCTOR_ROWS_MAX)]

    async def timers(self) -> BacklogFacts:
        """See `application.doctor.facts.DatabaseFacts`."""
        return BacklogFacts(*await self._row("doctor_timers", bounds.COUNTED_MAX))

    async def filling(self) -> list[Filling]:
        """See `application.doctor.facts.DatabaseFacts`."""
        limits = bounds.ACCOUNT_NUMBERS_MAX, bounds.ACCOUNT_CREDITS_MAX, FILLING
        return [
            Filling(*row)
            for row in await self._rows("doctor_filling_accounts", bounds.COUNTED_MAX, bounds.DOCTOR_ROWS_MAX, *limits)
        ]

    async def last_account_no(self) -> int:
        """See `application.doctor.facts.DatabaseFacts`."""
        last: int = (await self._row("doctor_last_account_no"))[0]
        return last

    async def letters(self) -> list[WaitingLetters]:
        """See `application.doctor.facts.DatabaseFacts`."""
        return [WaitingLetters(*row) for row in await self._rows("doctor_dead_letters", bounds.COUNTED_MAX)]

    async def refund_requests(self) -> BacklogFacts:
        """See `application.doctor.facts.DatabaseFacts`."""
        return BacklogFacts(*await self._row("doctor_refund_requests", bounds.COUNTED_MAX))

    async def paused(self) -> list[tuple[str, str]]:
        """See `application.doctor.facts.DatabaseFacts`."""
        return [(row["topic"], row["reason"]) for row in await self._rows("load_paused_topics")]

    async def gaps(self) -> list[Gap]:
        """See `application.doctor.facts.DatabaseFacts`."""
        return [Gap(*row) for row in await self._rows("doctor_gaps", bounds.DOCTOR_ROWS_MAX)]

    async def open_operations(self) -> list[OpenOperation]:
        """See `application.doctor.facts.DatabaseFacts`."""
        return [OpenOperation(*row) for row in await self._rows("doctor_operations", bounds.DOCTOR_ROWS_MAX)]

    async def _rows(self, statement: str, *arguments: object) -> "list[asyncpg.Record]":
        with _unreachable(), translated_errors():
            rows: list[asyncpg.Record] = await self._pool.fetch(sql(statement), *arguments)
        return rows

    async def _row(self, statement: str, *arguments: object) -> "asyncpg.Record":
        return (await self._rows(statement, *arguments))[0]


async def failed_logins(addresses: Iterable[Address]) -> dict[str, str]:
    """Tries one connection to each address, and returns the reasons of failure by the setting that holds the URL."""

    async def problem(address: Address) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS_MAX):
                (await connect(address)).terminate()
        except SessionsShared:
            raise
        except LedgerUnavailable as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {CHECK_SECONDS_MAX:.0f} s"
        return None

    tried = list(addresses)
    problems = await asyncio.gather(*map(problem, tried))
    return {address.variable: reason for address, reason in zip(tried, problems, strict=True) if reason}


@contextmanager
def _unreachable() -> Iterator[None]:
    try:
        yield
    except SessionsShared:
        # The command ends with this error's line: nothing else can be examined behind a pooler that shares sessions.
        raise
    except NoPassword as error:
        raise Denied(str(error), "correct what that setting names; it is read again at each new connection") from None
    except AccessDenied as error:
        raise Denied(str(error), GRANT) from None
    except LedgerUnavailable as error:
        raise Unreachable(str(error)) from None

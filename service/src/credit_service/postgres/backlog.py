"""What the watch asks of the database."""

import time
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.sights import Backlog
from credit_service.postgres.pool import faults_named
from credit_service.postgres.schema import schema_problem
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import FailoverPool

CONNECTS_EVERY_SECONDS = 15.0


class PostgresSight:
    """The application's `LedgerSight`; `pool` is its own, so that it never waits behind those who decide.

    It connects anew now and then: only so it is seen that the address leads to another server, where that of before
    answers those who are connected to it as if it still decided.
    """

    def __init__(self, pool: "FailoverPool") -> None:
        self._pool = pool
        self._connects_at = time.monotonic() + CONNECTS_EVERY_SECONDS

    async def backlog(self) -> Backlog:
        """See `application.sights.LedgerSight`."""
        with faults_named():
            return Backlog(
                *(await self._pool.fetch(sql("backlog"), bounds.COUNTED_MAX, bounds.OLDEST_LOOKED_AT_MAX))[0]
            )

    async def schema_problem(self) -> str | None:
        """See `application.sights.LedgerSight`."""
        if time.monotonic() >= self._connects_at:
            self._connects_at = time.monotonic() + CONNECTS_EVERY_SECONDS
            await self._pool.end_sessions()
        return await schema_problem(self._pool)

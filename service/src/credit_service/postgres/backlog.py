"""What the watch asks of the database."""

from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.sights import Backlog
from credit_service.postgres.pool import faults_named
from credit_service.postgres.schema import schema_problem
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Pool


class PostgresSight:
    """The application's `LedgerSight`; `pool` is its own, so that it never waits behind those who decide."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def backlog(self) -> Backlog:
        """See `application.sights.LedgerSight`."""
        with faults_named():
            return Backlog(
                *(await self._pool.fetch(sql("backlog"), bounds.COUNTED_MAX, bounds.OLDEST_LOOKED_AT_MAX))[0]
            )

    async def schema_problem(self) -> str | None:
        """See `application.sights.LedgerSight`."""
        return await schema_problem(self._pool)

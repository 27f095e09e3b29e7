"""The balance changes of adjustments, as the ledger stores them."""

from typing import TYPE_CHECKING

from credit_service.application.adjustments import AdjustmentChange
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.instants import with_zone
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Pool


class PostgresAdjustments:
    """The application's `Adjustments` in Postgres."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def change_of(self, account_id: str, key: bytes) -> AdjustmentChange | None:
        """See `application.adjustments.Adjustments`."""
        with translated_errors():
            row = await self._pool.fetchrow(sql("read_adjustment"), account_id, key)
        if row is None:
            return None
        return AdjustmentChange(**dict(row) | {"expires_at": with_zone(row["expires_at"])})

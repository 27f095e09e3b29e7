"""The log of operations in Postgres."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from credit_service.application.operations import Ended, Json
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Pool


class PostgresOperationLog:
    """The application's `OperationLog`."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    async def begin(self, kind: str, operator: str, reason: str, arguments: Mapping[str, Json]) -> int:
        """See `application.operations.OperationLog`."""
        with translated_errors():
            number: int = await self._pool.fetchval(
                sql("begin_operation"), kind, operator, reason, json.dumps(arguments)
            )
        return number

    async def end(self, operation_id: int, ended_as: Ended, result: Mapping[str, Json]) -> None:
        """See `application.operations.OperationLog`."""
        with translated_errors():
            await self._pool.execute(sql("end_operation"), operation_id, ended_as, json.dumps(result))

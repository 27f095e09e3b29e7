"""The check that the database has the schema of this service."""

from typing import TYPE_CHECKING

import asyncpg

from credit_service.postgres.faults import translated_errors
from credit_service.postgres.migrate import newest_version
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import Connection, Pool


async def schema_problem(connection: "Connection | Pool") -> str | None:
    """A sentence about what is wrong with the schema, or None; raises `LedgerUnavailable`.

    A newer schema is no problem: a release migrates before it ends the last of the older services.
    """
    with translated_errors():
        try:
            found: str | None = await connection.fetchval(sql("schema_version"))
        except asyncpg.UndefinedTableError:
            found = None
    needed = newest_version()
    if found is None:
        return "database is not migrated: run `credits migrate`"
    if found < needed:
        return f"database is at version {found} and the service needs {needed}: run `credits migrate`"
    return None

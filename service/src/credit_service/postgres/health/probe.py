"""The probe by which the watch sees the backlog, the schema and the server."""

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from credit_service import bounds
from credit_service.application.errors import LedgerUnavailable
from credit_service.application.health_ports import Backlog
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.schema import schema_problem
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from credit_service.postgres.pool import FailoverPool

log = structlog.get_logger(__name__)

CONNECTS_EVERY_SECONDS = 15.0


class PostgresProbe:
    """The application's `LedgerProbe`; `pool` is its own, so that it never waits behind those who decide.

    It opens a new connection now and then. Only a new connection shows that the address leads to another server while
    the old server still answers its sessions. A background task opens it: a server that accepts no new connection is no
    fault of the sessions that work.
    """

    def __init__(self, pool: "FailoverPool") -> None:
        self._pool = pool
        self._connects_at = time.monotonic() + CONNECTS_EVERY_SECONDS
        self._connecting: asyncio.Task[None] | None = None
        self._refusal = ""

    async def backlog(self) -> Backlog:
        """See `application.health_ports.LedgerProbe`."""
        with translated_errors():
            return Backlog(
                *(await self._pool.fetch(sql("backlog"), bounds.COUNTED_MAX, bounds.OLDEST_LOOKED_AT_MAX))[0]
            )

    async def schema_problem(self) -> str | None:
        """See `application.health_ports.LedgerProbe`."""
        if time.monotonic() >= self._connects_at and (self._connecting is None or self._connecting.done()):
            self._connects_at = time.monotonic() + CONNECTS_EVERY_SECONDS
            self._connecting = asyncio.create_task(self._connect_anew())
        return await schema_problem(self._pool)

    async def _connect_anew(self) -> None:
        refusal = ""
        try:
            await self._pool.probe_server()
        except LedgerUnavailable as error:
            refusal = f"{type(error).__name__}: {error}"
        except Exception:  # a defect, which nothing else would report
            log.exception("no new connection could be tried")
        if refusal and refusal != self._refusal:
            log.warning("the database accepts no new connection", cause=refusal)
        self._refusal = refusal

"""Pools of connections to Postgres: every wait on them is bounded, and a fail-over replaces their sessions."""

import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import asyncpg

from credit_service import bounds
from credit_service.postgres.address import Address
from credit_service.postgres.failover import PoolGroup
from credit_service.postgres.faults import is_lost_server, translated_connect_timeout, translated_errors
from credit_service.postgres.session import CONNECT_TIMEOUT_SECONDS, READ_ONLY, SESSION, open_session

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]


IDLE_SECONDS_MAX = 300.0
PLANS_KEPT_SECONDS = 10.0


def open_pool(
    where: Address | str,
    connections_max: int | None = None,
    *,
    is_read_only: bool = False,
    grouped_with: "FailoverPool | None" = None,
) -> "FailoverPool":
    """A pool that connects at the first use of a connection; await it or use it as a context.

    Its sessions are replaced together with those of the pool `grouped_with`: a session that only reads gets no error
    from a server that is read-only.
    """
    pool = FailoverPool(
        Address.of(where),
        SESSION | (READ_ONLY if is_read_only else {}),
        min_size=0,
        max_size=connections_max or bounds.POOL_CONNECTIONS_MAX,
        max_queries=bounds.QUERIES_PER_SESSION_MAX,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        reset=PlanReset(),
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
    )
    if grouped_with is not None:
        pool.group = grouped_with.group
        pool.group.pools.append(pool)
    return pool


class FailoverPool(asyncpg.pool.Pool):  # type: ignore[misc]  # asyncpg ships no types
    """A pool that replaces its group's sessions when the server is read-only or ends, or another server answers.

    Behind a proxy, a session to the old server may stay open for good, while new ones reach the server that has taken
    over. `replaced` counts the replacements.
    """

    def __init__(self, address: Address, session: Mapping[str, str], **options: Any) -> None:
        super().__init__(connect=self._open, **options)
        self.group = PoolGroup()
        self.group.pools.append(self)
        self.replaced = 0
        self.address = address
        self._session = session

    async def _open(self, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        connection, server_started_at = await open_session(self.address, self._session, **options)
        try:
            is_another = self.group.notes_another_server(self.address, server_started_at)
        except asyncpg.PostgresError:
            connection.terminate()
            raise
        if is_another:
            await self.group.replace_sessions(self.address)
        return connection

    async def probe_server(self) -> None:
        """Connects once, beside the sessions of the pool; raises `LedgerUnavailable`."""
        with translated_errors(), translated_connect_timeout():
            connection = await self._open()
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)

    def acquire(self, *, timeout: float | None = None) -> "AcquiredConnection":
        """A connection, as a context."""
        return AcquiredConnection(self, timeout)

    async def end_sessions(self) -> None:
        """Ends the open sessions of this pool alone: idle ones at once, the others when they are released.

        Terminates them: to close them, asyncpg would wait 30 s for a server that is gone.
        """
        self.replaced += 1
        while self.get_idle_size() and not self.is_closing():
            (await super().acquire()).terminate()


class AcquiredConnection(asyncpg.pool.PoolAcquireContext):  # type: ignore[misc]  # asyncpg ships no types
    """A connection of a `FailoverPool`, for as long as the context lasts."""

    async def __aenter__(self) -> "Connection":
        """As asyncpg's."""
        self._replaced = self.pool.replaced
        with translated_connect_timeout():
            return await super().__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """As asyncpg's, but terminates a session that must not be used again."""
        if is_lost_server(error):
            await self.pool.group.replace_sessions()
        # asyncpg raises it when it has closed the connection itself.
        with suppress(asyncpg.InterfaceError):
            # A transaction that could not be rolled back is not rolled back a second time.
            is_left_open = error is not None and self.connection.is_in_transaction()
            if is_left_open or self._replaced != self.pool.replaced:
                self.connection.terminate()
        await super().__aexit__(kind, error, traceback)


class PlanReset:
    """The reset of a released connection, which only discards old plans now and then.

    Nothing here changes a session's state, and asyncpg's own reset is a round trip a batch. But a plan that was made
    while a table was empty scans all of it when it is large.
    """

    def __init__(self) -> None:
        # Keyed by the connection object: a process id may be used again, and no callback says when a session has ended.
        self._next = WeakKeyDictionary["Connection", float]()

    async def __call__(self, connection: "Connection") -> None:
        """Called by the pool."""
        now = time.monotonic()
        if now >= self._next.setdefault(connection, now + PLANS_KEPT_SECONDS):
            self._next[connection] = now + PLANS_KEPT_SECONDS
            await connection.execute("DISCARD PLANS")

"""Connections to Postgres: every wait on them is bounded."""

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from credit_service import bounds
from credit_service.application.faults import AccessDenied, LedgerUnavailable, OutOfTime, ReadOnly, RefusedByLedger

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 30
IDLE_SECONDS_MAX = 300.0
PLANS_KEPT_SECONDS = 10.0

SESSION = {
    "application_name": "credit-service",
    # Statements name the schema of everything; what a session made for itself comes last.
    "search_path": "credits, pg_temp",
    "timezone": "UTC",
    "statement_timeout": "25s",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Sets of any size come as arrays; a plan made for one size is wrong for the next, and index look-ups fit all. They
    # are also right for tables that are still empty when the plan is made, and no more when it is used.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# For those who only look: a second line behind what their role may do.
READ_ONLY = {"default_transaction_read_only": "on"}

# By SQLSTATE; the server's own words could be in any language.
DENIED = {
    "28000": "this user is not let in: by pg_hba.conf, for want of TLS, or because it may not log in",
    "28P01": "the password is wrong",
    "3D000": "there is no database of this name",
    "42501": "this user lacks a privilege",
}
# What is missing is named by the server in words that hold names of tables and functions, and no values.
PERMISSION = re.compile(r"permission denied (?:for|to) [\w ]+|must be owner of [\w ]+")
NO_TLS = "rejected SSL upgrade"

IS_READ_ONLY = "25006"
OUT_OF_RANGE = "22003"
DATA_EXCEPTION = "22000"
# A statement that is cancelled, mostly by its timeout; a transaction that is idle, or open, for too long.
OUT_OF_TIME = ("57014", "25P03", "25P04")
# By class: an administrator ends the session, the server ends or only begins, the database is dropped.
SERVER_ENDS = "57P"


async def connect(database_url: str, **session: str) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside any pool, with the session's settings overridden by `session`."""
    with faults_named(), connecting():
        return await asyncpg.connect(
            database_url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings=SESSION | session,
        )


def open_pool(
    database_url: str,
    connections_max: int | None = None,
    *,
    is_read_only: bool = False,
    beside: "Pool | None" = None,
) -> "Pool":
    """A pool that connects when it is first asked for a connection; await it or use it as a context.

    Its sessions are replaced together with those of the pools `beside` it: a session that only reads gets no error from
    a server that is read-only.
    """
    pool = FailoverPool(
        database_url,
        min_size=0,
        max_size=connections_max or bounds.POOL_CONNECTIONS_MAX,
        max_queries=bounds.QUERIES_PER_SESSION_MAX,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        server_settings=SESSION | (READ_ONLY if is_read_only else {}),
        reset=Reset(),
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
    )
    if beside is not None:
        pool.together = beside.together
        pool.together.append(pool)
    return pool


class FailoverPool(asyncpg.pool.Pool):  # type: ignore[misc]  # asyncpg ships no types
    """Replaces all its sessions once a statement on one of them finds that the server is read-only or ends.

    Behind a proxy such a session may stay open for good, while new ones reach the server that has taken over.
    So do the pools that are `together` with it. `replaced` counts how often that was.
    """

    def __init__(self, *connect_args: Any, **options: Any) -> None:
        super().__init__(*connect_args, **options)
        self.together: list[FailoverPool] = [self]
        self.replaced = 0

    def acquire(self, *, timeout: float | None = None) -> "Borrowed":
        """A connection, as a context."""
        return Borrowed(self, timeout)

    async def replace_sessions(self) -> None:
        """Ends each session that is open now in this pool and those together with it: idle ones at once, others when
        they come back.
        """
        for pool in self.together:
            await pool.end_sessions()

    async def end_sessions(self) -> None:
        """Those of this pool alone, without a goodbye: asyncpg would wait 30 s for a server that is not there."""
        self.replaced += 1
        while self.get_idle_size() and not self.is_closing():
            (await super().acquire()).terminate()


class Borrowed(asyncpg.pool.PoolAcquireContext):  # type: ignore[misc]  # asyncpg ships no types
    """A connection of a `FailoverPool`, for as long as the context lasts."""

    async def __aenter__(self) -> "Connection":
        """As asyncpg's."""
        self._replaced = self.pool.replaced
        with connecting():
            return await super().__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """As asyncpg's, but for a session that is not to be used again."""
        if _met_lost_server(error):
            await self.pool.replace_sessions()
        if self._replaced != self.pool.replaced:
            # Raised where asyncpg itself has closed it.
            with suppress(asyncpg.InterfaceError):
                self.connection.terminate()
        await super().__aexit__(kind, error, traceback)


def _met_lost_server(error: BaseException | None) -> bool:
    """Whether the server is read-only or ends."""
    return any(sqlstate == IS_READ_ONLY or sqlstate.startswith(SERVER_ENDS) for sqlstate in _sqlstates(error))


def _sqlstates(error: BaseException | None) -> Iterator[str]:
    """All that the server has said; ending the transaction may have raised another error after that one."""
    while error is not None:
        if isinstance(error, asyncpg.PostgresError):
            yield error.sqlstate or ""
        error = error.__cause__ or error.__context__


class Reset:
    """What is done when a connection comes back: almost nothing.

    Nothing here changes a session's state, and asyncpg's own reset is a round trip a batch. But plans are made anew now
    and then: one that was made while a table was empty goes through all of it when it is large.
    """

    def __init__(self) -> None:
        self._next: dict[int, float] = {}

    async def __call__(self, connection: "Connection") -> None:
        """Called by the pool."""
        session, now = connection.get_server_pid(), time.monotonic()
        if now >= self._next.setdefault(session, now + PLANS_KEPT_SECONDS):
            self._next[session] = now + PLANS_KEPT_SECONDS
            await connection.execute("DISCARD PLANS")


@contextmanager
def connecting() -> Iterator[None]:
    """A server that does not let anybody in within the time is away; no transaction was too large for it."""
    try:
        yield
    except TimeoutError as error:
        raise LedgerUnavailable(type(error).__name__) from None


@contextmanager
def faults_named() -> Iterator[None]:
    """Turns what asyncpg raises into the application's faults; neither carries row values."""
    try:
        yield
    except asyncpg.PostgresError as error:
        sqlstate = error.sqlstate or ""
        if sqlstate.startswith(("22", "23")):
            raise RefusedByLedger(sqlstate, getattr(error, "constraint_name", None)) from None
        if sqlstate == IS_READ_ONLY:
            raise ReadOnly(f"the database takes no writes: it is read-only, SQLSTATE {sqlstate}") from None
        if sqlstate in OUT_OF_TIME:
            raise OutOfTime(f"{type(error).__name__}, SQLSTATE {sqlstate}") from None
        if sqlstate in DENIED:
            raise AccessDenied(_denied(error, sqlstate)) from None
        raise LedgerUnavailable(f"{type(error).__name__}, SQLSTATE {sqlstate}") from None
    except asyncpg.exceptions.DataError as error:
        raise RefusedByLedger(getattr(error, "sqlstate", None) or DATA_EXCEPTION, None) from None
    except ssl.SSLCertVerificationError as error:
        raise AccessDenied(f"the server's certificate is not trusted: {error.verify_message}") from None
    except (FileNotFoundError, PermissionError, asyncpg.ClientConfigurationError) as error:
        raise AccessDenied(f"what the URL says of TLS cannot be used: {type(error).__name__}") from None
    except TimeoutError as error:
        raise OutOfTime(type(error).__name__) from None
    # The internal one is what a connection says that the server has ended a moment ago.
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if any(sqlstate in OUT_OF_TIME for sqlstate in _sqlstates(error)):
            # The server has ended the session with the transaction.
            raise OutOfTime(type(error).__name__) from None
        if NO_TLS in str(error):
            raise AccessDenied("the server has no TLS, and the URL asks for it") from None
        raise LedgerUnavailable(type(error).__name__) from None


@contextmanager
def values_named() -> Iterator[None]:
    """Turns what values do that a row cannot hold, or that no rule could have written, into a refusal.

    asyncpg encodes rows that are copied itself, and fails with Python's own errors. The next attempt would do the same.
    """
    try:
        yield
    except OverflowError:
        raise RefusedByLedger(OUT_OF_RANGE, None) from None
    # Not those of asyncpg: they are named by `faults_named`.
    except (ValueError, TypeError) as error:
        if isinstance(error, asyncpg.InterfaceError | asyncpg.PostgresError | OSError):
            raise
        raise RefusedByLedger(DATA_EXCEPTION, None) from None


def _denied(error: asyncpg.PostgresError, sqlstate: str) -> str:
    named = PERMISSION.fullmatch(str(error)) if sqlstate == "42501" else None
    return f"{named[0] if named else DENIED[sqlstate]}, SQLSTATE {sqlstate}"

"""Connections to Postgres: every wait on them is bounded."""

import asyncio
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import asyncpg

from credit_service import bounds
from credit_service.application.errors import (
    AccessDenied,
    LedgerUnavailable,
    OutOfTime,
    ReadOnly,
    RefusedByLedger,
    SessionsShared,
)
from credit_service.postgres.address import Address, variables_of
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]


CONNECT_TIMEOUT_SECONDS = 5
REPLACED_EVERY_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 30
IDLE_SECONDS_MAX = 300.0
PLANS_KEPT_SECONDS = 10.0

# Set once a session is there, by one statement: poolers before a server refuse to be told most of them at its start.
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
# By class: an administrator ends the session, the server ends or only begins, the database is dropped; the connection
# is broken, or what stands between here and the server has lost the server.
SERVER_ENDS = ("57P", "08")
# A password that is refused; a token in its place is refused by PAM, which has no SQLSTATE of its own.
WRONG_PASSWORD = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
# What was prepared is not there, or was prepared by somebody else.
ANOTHER_SESSION = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
LOOKS_AT_SESSIONS = 5
BACKEND = "SELECT pg_backend_pid()"


async def connect(where: Address | str, **session: str) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside any pool, with the session's settings overridden by `session`."""
    with faults_named(), connecting():
        connection, _ = await open_session(Address.of(where), SESSION | session)
    return connection


async def open_session(
    address: Address, session: Mapping[str, str], **options: Any
) -> "tuple[asyncpg.Connection[asyncpg.Record], datetime]":
    """A connection by the password of now, with its settings; and which server it leads to, by when that was started.

    Raises what asyncpg does, `NoPassword`, and `SessionsShared` if the session is not one's own.
    """
    connection = await _log_in(address, **options)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            try:
                opened = await connection.fetchrow(sql("open_session"), [*session], [*session.values()])
            except ANOTHER_SESSION:
                raise _shared(address) from None
            if not address.has_sessions:
                # Who gives sessions away again puts numbers of its own in the place of the server's.
                if opened["backend"] != connection.get_server_pid() and await _is_shared(connection, address):
                    raise _shared(address)
                address.has_sessions = True
    except BaseException:
        connection.terminate()
        raise
    return connection, opened["server"]


async def _log_in(address: Address, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    options = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS} | options
    if address.password is None:
        return await asyncpg.connect(address.url, **options)
    password = await address.password.ask()
    try:
        return await asyncpg.connect(address.url, password=password, **options)
    except WRONG_PASSWORD:
        # It may have been changed a moment ago.
        newer = await address.password.ask(refused=password)
        if newer == password:
            raise
        return await asyncpg.connect(address.url, password=newer, **options)


async def _is_shared(connection: "asyncpg.Connection[asyncpg.Record]", address: Address) -> bool:
    """Whether two connections that are open meet in one session, or one of them goes from session to session."""
    other = await _log_in(address)
    try:
        seen = set[tuple[int, int]]()
        for number in range(LOOKS_AT_SESSIONS):
            # In turns: a pooler that goes round its sessions would else give each of the two the same one each time.
            first, second = (connection, other) if number % 2 else (other, connection)
            backends = {one: await one.fetchval(BACKEND) for one in (first, second)}
            seen.add((backends[connection], backends[other]))
    except ANOTHER_SESSION:
        return True
    finally:
        other.terminate()
    return len(seen) > 1 or any(one == another for one, another in seen)


def _shared(address: Address) -> SessionsShared:
    return SessionsShared(
        f"{address.variable}: what answers there gives each transaction another session (a pooler in transaction or "
        "statement mode); it has to be the server itself, or a pooler in session mode"
    )


def open_pool(
    where: Address | str,
    connections_max: int | None = None,
    *,
    is_read_only: bool = False,
    beside: "FailoverPool | None" = None,
) -> "FailoverPool":
    """A pool that connects when it is first asked for a connection; await it or use it as a context.

    Its sessions are replaced together with those of the pools `beside` it: a session that only reads gets no error from
    a server that is read-only.
    """
    pool = FailoverPool(
        Address.of(where),
        SESSION | (READ_ONLY if is_read_only else {}),
        min_size=0,
        max_size=connections_max or bounds.POOL_CONNECTIONS_MAX,
        max_queries=bounds.QUERIES_PER_SESSION_MAX,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        reset=Reset(),
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
    )
    if beside is not None:
        pool.together = beside.together
        pool.together.pools.append(pool)
    return pool


class Together:
    """Pools that replace their sessions together, and which server answered last at each of their addresses.

    `moved` counts how often another one did than before at the address of the first pool, which decides. Elsewhere
    there may be several servers for good, behind one name for all that only looks. Where two that decide take turns,
    each new connection may meet the other one: sessions are replaced for that once in a while, not each time, and until
    then the other one is not used.
    """

    def __init__(self) -> None:
        self.pools: list[FailoverPool] = []
        self.moved = 0
        self._servers: dict[Address, datetime] = {}
        self._replaced_at = float("-inf")

    def meets_another(self, address: Address, server: datetime) -> bool:
        """Whether the address leads to another server now, for which sessions are to be replaced.

        Raises asyncpg's CannotConnectNowError for one that may have been left a moment ago: it is not to be used.
        """
        if self._servers.setdefault(address, server) == server:
            return False
        if self.decides_at(address):
            now = time.monotonic()
            if now < self._replaced_at + REPLACED_EVERY_SECONDS:
                raise asyncpg.CannotConnectNowError("another server than a moment ago")
            self.moved += 1
            self._replaced_at = now
            self._tell(address)
        self._servers[address] = server
        return True

    @staticmethod
    def _tell(address: Address) -> None:
        # Commands that need nothing else of it are not to load it.
        import structlog

        at = variables_of(address.url)
        place = f"{at.get('PGHOST', '')}:{at['PGPORT']}"
        log = structlog.get_logger(__name__)
        log.warning("another server answers, sessions are replaced", setting=address.variable, at=place)

    def decides_at(self, address: Address) -> bool:
        """Whether that is the address of the first pool."""
        return self.pools[0].address is address


class FailoverPool(asyncpg.pool.Pool):  # type: ignore[misc]  # asyncpg ships no types
    """Replaces all its sessions once a statement on one of them finds that the server is read-only or ends, or a new
    one that another server answers.

    Behind a proxy such a session may stay open for good, while new ones reach the server that has taken over.
    So do the pools that are `together` with it. `replaced` counts how often that was.
    """

    def __init__(self, address: Address, session: Mapping[str, str], **options: Any) -> None:
        super().__init__(connect=self._open, **options)
        self.together = Together()
        self.together.pools.append(self)
        self.replaced = 0
        self.address = address
        self._session = session

    async def _open(self, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        connection, server = await open_session(self.address, self._session, **options)
        try:
            meets_another = self.together.meets_another(self.address, server)
        except asyncpg.PostgresError:
            connection.terminate()
            raise
        if meets_another:
            if self.together.decides_at(self.address):
                await self.replace_sessions()
            else:
                for pool in self.together.pools:
                    if pool.address is self.address:
                        await pool.end_sessions()
        return connection

    async def look_who_answers(self) -> None:
        """Connects once, beside the sessions of the pool; raises `LedgerUnavailable`."""
        with faults_named(), connecting():
            connection = await self._open()
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)

    def acquire(self, *, timeout: float | None = None) -> "Borrowed":
        """A connection, as a context."""
        return Borrowed(self, timeout)

    async def replace_sessions(self) -> None:
        """Ends each session that is open now in this pool and those together with it: idle ones at once, others when
        they come back.
        """
        for pool in self.together.pools:
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
        # Raised where asyncpg itself has closed it.
        with suppress(asyncpg.InterfaceError):
            # What could not even be rolled back is not asked to do so once more.
            is_left_open = error is not None and self.connection.is_in_transaction()
            if is_left_open or self._replaced != self.pool.replaced:
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
        # By the connection itself: a number may come again, and nobody says when a session has ended.
        self._next = WeakKeyDictionary["Connection", float]()

    async def __call__(self, connection: "Connection") -> None:
        """Called by the pool."""
        now = time.monotonic()
        if now >= self._next.setdefault(connection, now + PLANS_KEPT_SECONDS):
            self._next[connection] = now + PLANS_KEPT_SECONDS
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

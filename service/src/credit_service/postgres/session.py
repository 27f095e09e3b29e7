"""Sessions on the server: logging in, their settings, and the check that no pooler shares them."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import asyncpg

from credit_service.application.errors import SessionsShared
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_connect_timeout, translated_errors
from credit_service.postgres.statements import sql

if TYPE_CHECKING:
    from datetime import datetime

CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 30

# Set by one statement after the login, because poolers refuse most of them as startup parameters.
SESSION = {
    "application_name": "credit-service",
    # Statements qualify every name with its schema; a session's temporary objects come last.
    "search_path": "credits, pg_temp",
    "timezone": "UTC",
    "statement_timeout": "25s",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Arrays carry sets of any size. A plan made for one size is wrong for the next; index look-ups fit all sizes, and
    # stay right when a table was empty at planning time and is large at execution time.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# For sessions that only read: a second line behind the privileges of their role.
READ_ONLY = {"default_transaction_read_only": "on"}

# The server refuses a wrong password; PAM, which has no SQLSTATE of its own, refuses a token in its place.
WRONG_PASSWORD = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
# A prepared statement is missing, or another client prepared it.
ANOTHER_SESSION = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
SESSION_CHECKS = 5
BACKEND = "SELECT pg_backend_pid()"


async def connect(where: Address | str, **session: str) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside any pool, with the session's settings overridden by `session`."""
    with translated_errors(), translated_connect_timeout():
        connection, _ = await open_session(Address.of(where), SESSION | session)
    return connection


async def open_session(
    address: Address, session: Mapping[str, str], **options: Any
) -> "tuple[asyncpg.Connection[asyncpg.Record], datetime]":
    """A connection with the current password and the given settings, and the start time of its server.

    Raises asyncpg's errors, `NoPassword`, and `SessionsShared` if a pooler shares the session.
    """
    connection = await _log_in(address, **options)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            try:
                opened = await connection.fetchrow(sql("open_session"), [*session], [*session.values()])
            except ANOTHER_SESSION:
                raise _shared(address) from None
            if not address.has_sessions:
                # A pooler that shares sessions replaces the server's process ids by its own numbers.
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
        # The password may have changed a moment ago.
        newer = await address.password.ask(refused=password)
        if newer == password:
            raise
        return await asyncpg.connect(address.url, password=newer, **options)


async def _is_shared(connection: "asyncpg.Connection[asyncpg.Record]", address: Address) -> bool:
    """Whether two open connections meet in one session, or one of them changes its session."""
    other = await _log_in(address)
    try:
        seen = set[tuple[int, int]]()
        for number in range(SESSION_CHECKS):
            # In turns: a round-robin pooler would otherwise give each of the two the same session each time.
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
        f"{address.variable}: a pooler in transaction or statement mode gives each transaction another session; the "
        "address must be that of the server itself, or of a pooler in session mode"
    )

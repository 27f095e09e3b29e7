"""Translation of asyncpg's errors into the application's faults, none of which carries row values."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from credit_service.application.errors import AccessDenied, LedgerUnavailable, OutOfTime, ReadOnly, RefusedByLedger

# By SQLSTATE, because the server's own messages may be in any language.
DENIED = {
    "28000": "the server rejects this user: by pg_hba.conf, for lack of TLS, or because it may not log in",
    "28P01": "the password is wrong",
    "3D000": "there is no database of this name",
    "42501": "this user lacks a privilege",
}
# The server's message about a missing privilege names tables and functions, and holds no values.
PERMISSION = re.compile(r"permission denied (?:for|to) [\w ]+|must be owner of [\w ]+")
NO_TLS = "rejected SSL upgrade"

IS_READ_ONLY = "25006"
OUT_OF_RANGE = "22003"
DATA_EXCEPTION = "22000"
# A statement that is cancelled, mostly by its timeout; a transaction that is idle, or open, for too long.
OUT_OF_TIME = ("57014", "25P03", "25P04")
# By class: an administrator ends the session, the server shuts down or starts, the database is dropped; the connection
# is broken, or a proxy has lost the server.
SERVER_ENDS = ("57P", "08")


def is_lost_server(error: BaseException | None) -> bool:
    """Whether the error says that the server is read-only or ends."""
    return any(sqlstate == IS_READ_ONLY or sqlstate.startswith(SERVER_ENDS) for sqlstate in _sqlstates(error))


def _sqlstates(error: BaseException | None) -> Iterator[str]:
    """The SQLSTATEs of the error and its causes; the rollback may have raised another error after the first one."""
    while error is not None:
        if isinstance(error, asyncpg.PostgresError):
            yield error.sqlstate or ""
        error = error.__cause__ or error.__context__


@contextmanager
def translated_connect_timeout() -> Iterator[None]:
    """Turns a timeout while connecting into `LedgerUnavailable`: no transaction was too large for the server."""
    try:
        yield
    except TimeoutError as error:
        raise LedgerUnavailable(type(error).__name__) from None


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns asyncpg's errors into the application's faults."""
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
        raise AccessDenied(f"the TLS parameters of the URL cannot be used: {type(error).__name__}") from None
    except TimeoutError as error:
        raise OutOfTime(type(error).__name__) from None
    # asyncpg raises the internal one on a connection that the server has just ended.
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if any(sqlstate in OUT_OF_TIME for sqlstate in _sqlstates(error)):
            # The server has ended the session with the transaction.
            raise OutOfTime(type(error).__name__) from None
        if NO_TLS in str(error):
            raise AccessDenied("the server has no TLS, and the URL asks for it") from None
        raise LedgerUnavailable(type(error).__name__) from None


@contextmanager
def translated_value_errors() -> Iterator[None]:
    """Turns the errors of values that a row cannot hold, or that no rule could have written, into a refusal.

    asyncpg encodes copied rows itself, and fails with Python's own errors. The next attempt would fail alike.
    """
    try:
        yield
    except OverflowError:
        raise RefusedByLedger(OUT_OF_RANGE, None) from None
    # `translated_errors` translates those of asyncpg.
    except (ValueError, TypeError) as error:
        if isinstance(error, asyncpg.InterfaceError | asyncpg.PostgresError | OSError):
            raise
        raise RefusedByLedger(DATA_EXCEPTION, None) from None


def _denied(error: asyncpg.PostgresError, sqlstate: str) -> str:
    privilege = PERMISSION.fullmatch(str(error)) if sqlstate == "42501" else None
    return f"{privilege[0] if privilege else DENIED[sqlstate]}, SQLSTATE {sqlstate}"

"""Migrations of the schema: plain SQL files, run by dbmate."""

import os
import re
import subprocess
import sysconfig
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path

import asyncpg

from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.session import CONNECT_TIMEOUT_SECONDS, open_session

# A migration that rewrites all tables takes minutes for some ten million events.
DBMATE_SECONDS_MAX = 4 * 3600
WAIT_SECONDS_MAX = 30

# dbmate quotes a URL that it cannot parse. It hides a password before the host, but not one among the parameters.
_ADDRESS = re.compile(r'"?postgres(?:ql)?://\S+')


class MigrationFailed(Exception):  # noqa: N818 - the name says what happened
    """dbmate could not bring the database to the newest version; its output is the message."""


def newest_version() -> str:
    """The version of the newest migration that this service was built with."""
    names = [f.name for f in (files("credit_service.postgres") / "migrations").iterdir()]
    return max(name.partition("_")[0] for name in names if name.endswith(".sql"))


async def require_access(where: Address | str) -> None:
    """Raises `AccessDenied` at once where dbmate would retry until its wait is over.

    dbmate waits for a server that does not answer yet, and creates a missing database.
    """
    try:
        with translated_errors(), suppress(asyncpg.InvalidCatalogNameError):
            connection, _ = await open_session(Address.of(where), {})
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)
    except AccessDenied:
        raise
    except LedgerUnavailable:
        return


def migrate(where: Address | str, wait_seconds_max: int = WAIT_SECONDS_MAX) -> str:
    """Runs the missing migrations and returns the output of dbmate; raises `MigrationFailed` and `NoPassword`."""
    address = Address.of(where)
    login = {"DATABASE_URL": _with_default_ssl_mode(address.url)}
    if address.password:
        login["PGPASSWORD"] = address.password.read()
    with as_file(files("credit_service.postgres") / "migrations") as folder:
        command = [
            str(Path(sysconfig.get_path("scripts")) / "dbmate"),
            f"--migrations-dir={folder}",
            "--migrations-table=schema_migrations",
            "--no-dump-schema",
            "--wait",
            f"--wait-timeout={wait_seconds_max}s",
            "up",
        ]
        done = subprocess.run(  # noqa: S603 - our own command; URL and password are passed in the environment
            command,
            env=os.environ | login,
            capture_output=True,
            text=True,
            timeout=DBMATE_SECONDS_MAX,
            check=False,
        )
    if done.returncode:
        raise MigrationFailed(_ADDRESS.sub("the database:", done.stderr.strip() or done.stdout.strip()))
    return done.stdout.strip()


def _with_default_ssl_mode(database_url: str) -> str:
    """The URL with `sslmode=prefer`, as libpq and the service have it; the driver in dbmate would require TLS."""
    if "sslmode=" in database_url:
        return database_url
    return f"{database_url}{'&' if '?' in database_url else '?'}sslmode=prefer"

"""The servers of a test run, started once, and a database for each test."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import asyncpg
import psutil  # type: ignore[import-untyped]

from credit_local_stack import Addresses, servers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

# Not the variables that the service reads: a test of its settings must not find them.
_RUN = "TEST_RUN_SERVERS"
_TEMPLATE_LOCK = 0x63726564

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of the system's, in which a folder of our own is made
# Postgres keeps up to 4 GiB of WAL; the processes of the tests need the rest.
ROOM_BYTES_MIN = 10 * 1024**3


@contextmanager
def run_servers() -> Iterator[Addresses]:
    """Start the servers of this run, or take those that are given, and tell the workers where they are."""
    with servers(lambda _: None, scratch=in_memory()) as running:
        os.environ[_RUN] = json.dumps({"name": secrets.token_hex(4), **asdict(running.addresses)})
        try:
            yield running.addresses
        finally:
            # For servers that stay when the run ends.
            with suppress(OSError, asyncpg.PostgresError):
                in_a_loop_of_its_own(lambda: _drop(running.addresses.database_url, _template_name()))
            del os.environ[_RUN]


def in_memory() -> Path | None:
    """Return the folder for servers' data that is memory, where there is room for it; None where there is not.

    Databases are made and dropped by the hundred, and each waits for the disk. `fsync` stays on.
    """
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None
    is_enough = min(free, psutil.virtual_memory().available) >= ROOM_BYTES_MIN
    return SHARED_MEMORY if is_enough and os.access(SHARED_MEMORY, os.W_OK) else None


def running_servers() -> Addresses | None:
    """Return the servers that this process, or the controller of this worker, has started."""
    if _RUN not in os.environ:
        return None
    run = json.loads(os.environ[_RUN])
    return Addresses(run["database_url"], run["bootstrap_servers"])


def make_template(database_url: str) -> str:
    """Make the migrated template, unless another worker has, and return its name."""
    in_a_loop_of_its_own(lambda: _make_template(database_url))
    return _template_name()


@contextmanager
def fresh_database(database_url: str, template: str) -> Iterator[str]:
    """Yield the address of a new copy of the template, and drop it after."""
    name = f"credits_test_{secrets.token_hex(6)}"
    in_a_loop_of_its_own(lambda: _execute(database_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield with_database(database_url, name)
    finally:
        in_a_loop_of_its_own(lambda: _drop(database_url, name))


async def _make_template(database_url: str) -> None:
    from credit_service.postgres.migrate import migrate

    template = _template_name()
    unfinished = f"{template}_new"
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)
        if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", template):
            return
        await connection.execute(f"DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {unfinished}")
        await asyncio.to_thread(migrate, with_database(database_url, unfinished))
        await connection.execute(f"ALTER DATABASE {unfinished} RENAME TO {template}")
    finally:
        await connection.close()


async def _drop(database_url: str, name: str) -> None:
    await _execute(database_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _execute(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _template_name() -> str:
    # A run's own name: on servers that are given, an earlier run may have left one of an earlier schema.
    return f"credits_template_{json.loads(os.environ[_RUN])['name']}"


def with_database(database_url: str, name: str) -> str:
    return urlsplit(database_url)._replace(path=f"/{name}").geturl()


def in_a_loop_of_its_own(work: Callable[[], Awaitable[T]]) -> T:
    """Run it in another thread, where no test's event loop is in the way."""

    async def run() -> T:
        return await work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()

"""A streaming replica of a Postgres of the local stack, and a network name that leads to either server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from credit_local_stack.ports import HOST
from credit_local_stack.postgres import Postgres, as_server_user, postgres_binaries
from credit_local_stack.process import ServerProcess
from support.patience import patience
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_BASE_BACKUP_SECONDS_MAX = 120
_CHUNK_BYTES = 64 * 1024


async def ask(database_url: str, statement: str, *arguments: object) -> Any:
    """One value, by a session that may write whatever others may."""
    settings = {"default_transaction_read_only": "off"}
    connection = await asyncpg.connect(database_url, timeout=patience(10), server_settings=settings)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


class Replica:
    """Follows the primary, asynchronously, until it is cut off or promoted."""

    def __init__(self, primary_url: str, data: Path) -> None:
        self._primary_url = primary_url
        self._server = Postgres(data, postgres_binaries())
        self._process = ServerProcess(self._server, time.sleep)

    @property
    def url(self) -> str:
        """Its address, for the same database, user and password."""
        at = urlsplit(self._primary_url)
        return at._replace(netloc=f"{at.username}:{at.password}@{HOST}:{self._server.port}").geturl()

    def start(self) -> None:
        """Copies the primary as it runs, and follows it."""
        at = urlsplit(self._primary_url)
        folder = self._server.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = [f"--host={at.hostname}", f"--port={at.port}", f"--username={at.username}", f"--pgdata={folder}"]
        subprocess.run(
            [postgres_binaries() / "pg_basebackup", *arguments, "--write-recovery-conf", "--checkpoint=fast"],
            env=os.environ | {"PGPASSWORD": at.password or ""},
            check=True,
            timeout=patience(_BASE_BACKUP_SECONDS_MAX),
        )
        self._server.choose_ports()
        self._process.launch()
        self._process.wait_until_it_answers(may_move=True)

    def promote(self) -> None:
        """As whoever watches over servers does; returns once it takes writes."""
        subprocess.run(
            [*as_server_user(), postgres_binaries() / "pg_ctl", "promote", "-D", self._server.folder],
            check=True,
            capture_output=True,
            timeout=patience(60),
        )

    async def follows(self) -> None:
        """Waits until it has all that the primary has by now."""
        position = await ask(self._primary_url, "SELECT pg_current_wal_lsn()::text")

        async def has_it() -> bool:
            return bool(await ask(self.url, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position))

        await eventually(has_it, what="the replica has followed")

    async def cut_off(self) -> None:
        """What the primary commits from now on the replica never hears of."""
        await ask(self.url, "ALTER SYSTEM SET primary_conninfo = ''")
        await ask(self.url, "SELECT pg_reload_conf()")

        async def is_alone() -> bool:
            return bool(await ask(self.url, "SELECT count(*) = 0 FROM pg_stat_wal_receiver"))

        await eventually(is_alone, what="the replica cut off")

    def end(self) -> None:
        self._process.end(signal.SIGQUIT)


class Name:
    """An address that leads elsewhere once `leads_to` was set: for new connections, and for no other."""

    def __init__(self, database_url: str) -> None:
        self.leads_to = database_url
        self.url = ""
        self._open = set[asyncio.StreamWriter]()
        self._entered = set[asyncio.Task[None]]()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = urlsplit(self.leads_to)
        try:
            inner_reader, inner_writer = await asyncio.open_connection(at.hostname, at.port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, inner_writer}
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        self._open -= {writer, inner_writer}

    def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._entered.add(asyncio.create_task(self._enter(reader, writer)))

    async def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._entered, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def name_of(database_url: str) -> AsyncIterator[Name]:
    """A name that leads to this database."""
    name = Name(database_url)
    async with await asyncio.start_server(name.let_in, HOST, 0) as server:
        at = urlsplit(database_url)
        port = server.sockets[0].getsockname()[1]
        name.url = at._replace(netloc=f"{at.username}:{at.password}@{HOST}:{port}").geturl()
        try:
            yield name
        finally:
            await name.close()

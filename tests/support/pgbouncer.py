"""A real PgBouncer before a database, from Debian's package, which is fetched and not installed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from credit_local_stack.ports import HOST
from credit_local_stack.postgres import as_server_user
from support.patience import patience
from support.ports import next_port
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
_GET = ROOT / "deploy" / "tools" / "get-pgbouncer"
_FOLDER = ROOT / ".tools" / "pgbouncer"
REQUIRED = "REQUIRED"
CI = "CI"
_GET_SECONDS_MAX = 120
_COULD_NOT_BE_HAD = 3

_INI = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = {listen}
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
default_pool_size = 40
server_login_retry = 1
"""


@cache
def binary() -> Path:
    """A skip where it cannot be had; a failure where that is asked for, and in CI wherever there is an `apt-get`."""
    done = subprocess.run(
        [_GET, _FOLDER], capture_output=True, text=True, check=False, timeout=patience(_GET_SECONDS_MAX)
    )
    if done.returncode == _COULD_NOT_BE_HAD:
        told = done.stdout.strip().splitlines()[-1]
        if os.environ.get(REQUIRED) or (os.environ.get(CI) and which("apt-get")):
            pytest.fail(f"PgBouncer is required here: {told}")
        pytest.skip(told)
    assert done.returncode == 0, done.stderr
    return _FOLDER / "pgbouncer"


@asynccontextmanager
async def pgbouncer_before(database_url: str, mode: str, folder: Path) -> AsyncIterator[str]:
    """Its address, with the user and the database of `database_url`; `mode` is session, transaction or statement."""
    program = await asyncio.to_thread(binary)
    behind, port = urlsplit(database_url), next_port()
    users, ini, log = (folder / f"pgbouncer-{mode}.{kind}" for kind in ("users", "ini", "log"))
    users.write_text(f'"{behind.username}" "{behind.password}"\n')
    settings = {"host": behind.hostname, "port": behind.port, "listen": HOST, "listen_port": port}
    ini.write_text(_INI.format(**settings, users=users, mode=mode))
    url = behind._replace(netloc=f"{behind.username}:{behind.password}@{HOST}:{port}").geturl()
    with log.open("wb") as output:
        process = subprocess.Popen([*as_server_user(), program, ini], stdout=output, stderr=output)  # noqa: ASYNC220
    try:

        async def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                connection = await asyncpg.connect(url, timeout=patience(5))
            except OSError:
                return False
            await connection.close()
            return True

        await eventually(answers, what="PgBouncer answers")
        yield url
    finally:
        process.kill()
        process.wait()

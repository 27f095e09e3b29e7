"""Runs the service as a process, and reads its HTTP API."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import sysconfig
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from credit_service.application.auth.tokens import Scope, Token, new_token, sha256_of

READY_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 30
END_SECONDS_MAX = 40
NOTICE_SECONDS_MAX = 2
LOG_LINES_SHOWN = 15
POLL_SECONDS = 0.02


class Stopped(Exception):  # noqa: N818 - reads as what happened
    """The demo cannot continue; the message says why."""


class ServiceProcess:
    """A running `credits serve`, with its HTTP API."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, health_port: int, token: str, log: Path) -> None:
        self.port = port
        self.health_port = health_port
        self.log = log
        self.keeps_log = False
        self._process = process
        self._token = token

    def check_that_it_runs(self) -> None:
        """Raises `Stopped` if the service has ended by itself."""
        if self._process.returncode is not None:
            raise Stopped(f"the service ended by itself with exit code {self._process.returncode}")

    async def until_ready(self) -> None:
        """Waits until the service is ready; raises `Stopped` with its problems if it does not become ready."""
        problems: object = "it does not answer"
        for _ in range(int(READY_SECONDS_MAX / POLL_SECONDS)):
            self.check_that_it_runs()
            try:
                status, answer = await asyncio.to_thread(_get, self.health_port, "/readyz")
            except (OSError, http.client.HTTPException):
                status, answer = 0, {}
            if status == http.HTTPStatus.OK:
                return
            problems = answer.get("problems", problems)
            await asyncio.sleep(POLL_SECONDS)
        raise Stopped(f"the service was not ready within {READY_SECONDS_MAX} s: {problems}")

    async def account(self, account_id: str) -> dict[str, Any] | None:
        """The account in the API; None if there is none."""
        return await self._found(f"/v1/accounts/{quote(account_id, safe='')}")

    async def entries(self, account_id: str) -> list[dict[str, Any]]:
        """All entries of the account in the ledger."""
        entries: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = await self._found(f"/v1/accounts/{quote(account_id, safe='')}/entries?after={after}&limit=1000")
            entries += page["entries"] if page else []
            after = page["next_after"] if page else None
        return entries

    async def outcome(self, account_id: str, source: str, event_id: str) -> str | None:
        """The outcome of an event; None if it is undecided."""
        query = urlencode({"source": source, "id": event_id})
        found = await self._found(f"/v1/accounts/{quote(account_id, safe='')}/decisions?{query}")
        return found.get("outcome") if found else None

    async def end(self) -> int:
        """Ends the process by SIGTERM, or kills it after a while; returns the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), END_SECONDS_MAX)
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def last_log_lines(self) -> list[str]:
        """The last lines of the log."""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip() for line in deque(lines, LOG_LINES_SHOWN)]

    async def _found(self, path: str) -> dict[str, Any] | None:
        try:
            status, answer = await asyncio.to_thread(_get, self.port, path, self._token)
        except (OSError, http.client.HTTPException) as error:
            # A dying process resets its connections a moment before its exit code is known.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), NOTICE_SECONDS_MAX)
            self.check_that_it_runs()
            raise Stopped(f"the service does not answer {path}: {type(error).__name__}") from None
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        if status != http.HTTPStatus.OK:
            raise Stopped(f"the service answers {path} with status {status}")
        return answer


def _get(port: int, path: str, token: str = "") -> tuple[int, dict[str, Any]]:
    # urllib would use a proxy even for this machine.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@asynccontextmanager
async def running_service(environment: Mapping[str, str]) -> AsyncIterator[ServiceProcess]:
    """Starts the service, and always ends it; its log is a temporary file, which is kept if `keeps_log` is set."""
    port, health_port = _free_ports(2)
    secret = new_token()
    token = Token(name="demo", sha256=sha256_of(secret), scopes=frozenset(Scope))
    descriptor, log = tempfile.mkstemp(prefix="credits-demo-", suffix=".log")
    try:
        process = await asyncio.create_subprocess_exec(
            str(Path(sysconfig.get_path("scripts")) / "credits"),
            "serve",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={
                **os.environ,
                **environment,
                "CREDITS_LOG_FORMAT": "console",
                "CREDITS_HTTP_HOST": "127.0.0.1",
                "CREDITS_HTTP_PORT": str(port),
                "CREDITS_HTTP_TOKENS": json.dumps([token.entry()]),
                "CREDITS_HEALTH_HOST": "127.0.0.1",
                "CREDITS_HEALTH_PORT": str(health_port),
                "CREDITS_SHUTDOWN_SECONDS": str(END_SECONDS_MAX // 2),
            },
        )
    finally:
        os.close(descriptor)
    service = ServiceProcess(process, port, health_port, secret, Path(log))
    try:
        yield service
    finally:
        # Shielded: a second Ctrl-C must not leave it running.
        await asyncio.shield(service.end())
        if not service.keeps_log:
            service.log.unlink()


def _free_ports(count: int) -> list[int]:
    # All ports stay bound until the last one is found, so that none is found twice.
    with contextlib.ExitStack() as held:
        bound = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in bound]

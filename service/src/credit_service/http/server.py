"""uvicorn inside the service's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Self

import uvicorn
from starlette.types import ASGIApp

END_SECONDS_MAX = 3.0
CONNECTIONS_MAX = 500


class CannotListen(OSError):  # noqa: N818 - reads as the condition that it reports
    """The address is taken, or not this machine's."""


class HttpServer:
    """Serves `app` while its context is open. Port 0 is any free one; `port` is then the one that was bound.

    uvicorn's steps are taken one by one: its `serve` would take the signals, and the service ends its parts in an
    order of its own.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.port = port
        self._host = host
        self._config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=CONNECTIONS_MAX,
        )
        self._server = uvicorn.Server(self._config)
        self._sockets: list[socket.socket] = []
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Binds and begins to answer; raises `CannotListen`."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            bound = socket.create_server((self._host, self.port), family=family)
        except OSError as error:
            reason = str(error.strerror).partition(" (")[0]  # what follows repeats the address
            raise CannotListen(f"cannot listen on {self._host}, port {self.port}: {reason}") from None
        self._sockets = [bound]
        self.port = bound.getsockname()[1]
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(self._sockets)
        self._serving = asyncio.create_task(self._server.main_loop())

    async def stop(self, within_seconds: float = END_SECONDS_MAX) -> None:
        """Answers what is under way, bounded, and closes; does nothing if it was never started."""
        if self._serving is None:
            return
        # A whole number only by its annotation.
        self._config.timeout_graceful_shutdown = within_seconds  # type: ignore[assignment]
        self._server.should_exit = True
        await self._serving
        await self._server.shutdown(self._sockets)
        self._serving = None


@contextlib.asynccontextmanager
async def serving(*servers: HttpServer, end_seconds_max: float) -> AsyncIterator[None]:
    """Has all of them answer, and ends them at the same time, within a bound; raises `CannotListen`."""
    try:
        for server in servers:
            await server.start()
        yield
    finally:
        await asyncio.gather(*(server.stop(end_seconds_max) for server in servers))

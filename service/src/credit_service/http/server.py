"""Runs uvicorn inside the service's event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Self

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from credit_service import bounds
from credit_service.http.problems import ProblemResponse
from credit_service.http.request_limits import ANSWER_HEADERS

END_SECONDS_MAX = 3.0
# Longer than the limit of an answer: for sending a request, its answer, and reading the answer.
TURN_SECONDS_MAX = 15.0


class CannotListen(OSError):  # noqa: N818 - reads as the condition that it reports
    """The address is in use, or does not belong to this machine."""


class QuickProtocol(H11Protocol):
    """A connection with a time limit for each request; uvicorn would wait for the rest of a request without limit.

    Connections beyond `bounds.HTTP_CONNECTIONS_MAX` are closed; uvicorn would keep them open, and refuse only their
    requests.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Starts the time limit of the first request."""
        super().connection_made(transport)
        if len(self.connections) > bounds.HTTP_CONNECTIONS_MAX:
            self.logger.warning("a client is hung up on: %d are connected", bounds.HTTP_CONNECTIONS_MAX)
            transport.abort()
            return
        # uvicorn sends nothing more while more bytes than this are unsent.
        transport.set_write_buffer_limits(high=bounds.UNSENT_BYTES_MAX)
        self._set_deadline()

    def on_response_complete(self) -> None:
        """Restarts the time limit for the next request, or for the unsent rest."""
        super().on_response_complete()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels the time limit."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Answers a request that is not HTTP with a problem, and closes; an answer that has begun is cut off."""
        if self.cycle is not None and not self.cycle.response_complete:
            # Nobody receives the answer to the beginning of the request.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        problem = ProblemResponse(400, "this cannot be read as HTTP", {**ANSWER_HEADERS, "Connection": "close"})
        headers = [*self.server_state.default_headers, *problem.raw_headers]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(problem.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _set_deadline(self) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(TURN_SECONDS_MAX, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class HttpServer:
    """Serves `app` while its context is open. Port 0 is any free one; `port` is then the one that was bound.

    It calls the steps of uvicorn one by one: `serve` would handle the signals, and the service ends its parts in its
    own order.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.port = port
        self._host = host
        self._config = uvicorn.Config(
            app,
            http=QuickProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            h11_max_incomplete_event_size=bounds.HTTP_HEAD_BYTES_MAX,
        )
        self._server = uvicorn.Server(self._config)
        self._sockets: list[socket.socket] = []
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def connections(self) -> int:
        """The number of connected clients."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Binds the address and starts to answer; raises `CannotListen`."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            bound = socket.create_server((self._host, self.port), family=family)
        except OSError as error:
            reason = str(error.strerror).partition(" (")[0]  # the rest repeats the address
            raise CannotListen(f"cannot listen on {self._host}, port {self.port}: {reason}") from None
        self._sockets = [bound]
        self.port = bound.getsockname()[1]
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(self._sockets)
        self._serving = asyncio.create_task(self._server.main_loop())

    async def stop(self, within_seconds: float = END_SECONDS_MAX) -> None:
        """Finishes the current answers within a time limit, and closes; does nothing if it was never started."""
        if self._serving is None:
            return
        # The annotation says int, but uvicorn takes any number.
        self._config.timeout_graceful_shutdown = within_seconds  # type: ignore[assignment]
        self._server.should_exit = True
        await self._serving
        # A little before uvicorn cancels the rest: it would log clients that do not read as errors.
        aborting = asyncio.get_running_loop().call_later(0.8 * within_seconds, self._abort_connections)
        try:
            await self._server.shutdown(self._sockets)
        finally:
            aborting.cancel()
        self._serving = None

    def _abort_connections(self) -> None:
        for protocol in self._server.server_state.connections:
            protocol.transport.abort()


@contextlib.asynccontextmanager
async def serving(*servers: HttpServer, end_seconds_max: float) -> AsyncIterator[None]:
    """Starts the servers, and stops them together within a time limit; raises `CannotListen`."""
    try:
        for server in servers:
            await server.start()
        yield
    finally:
        await asyncio.gather(*(server.stop(end_seconds_max) for server in servers))

"""A stand-in for a broker with sessions: it gives the answers that a test sets, and records the requests."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

API_VERSIONS, HANDSHAKE, AUTHENTICATE, METADATA = 18, 17, 36, 3
_KNOWN = ((API_VERSIONS, 0), (HANDSHAKE, 1), (AUTHENTICATE, 1), (METADATA, 0))
_REFUSED = 58


@dataclass
class SessionBroker:
    """Answers one request of a connection after the other, as brokers do; by PLAIN, with one broker: itself."""

    lifetime_ms: int = 0
    takes: str = "first"
    port: int = 0
    address: tuple[str, int] | None = None
    asked: list[int] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    connections: int = 0
    holds: dict[int, asyncio.Event] = field(default_factory=dict)
    """No answer to these before it is set."""
    server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Is there no more."""
        if self.server is not None:
            self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    (size,) = struct.unpack("!i", await reader.readexactly(4))
                    request = await reader.readexactly(size)
                    key, _, number, name = struct.unpack_from("!hhih", request)
                    self.asked.append(key)
                    if key in self.holds:
                        await self.holds[key].wait()
                    answer = struct.pack("!i", number) + self._answer(key, request[10 + max(name, 0) :])
                    writer.write(struct.pack("!i", len(answer)) + answer)
        finally:
            writer.close()

    def _answer(self, key: int, body: bytes) -> bytes:
        if key == API_VERSIONS:
            return struct.pack("!hi", 0, len(_KNOWN)) + b"".join(struct.pack("!hhh", k, 0, v) for k, v in _KNOWN)
        if key == HANDSHAKE:
            return struct.pack("!hi", 0, 1) + _text("PLAIN")
        if key == AUTHENTICATE:
            said = body[4:].split(b"\0")[-1].decode()
            self.shown.append(said)
            error = 0 if said == self.takes else _REFUSED
            return struct.pack("!hhiq", error, -1, 0, self.lifetime_ms)
        host, port = self.address or ("127.0.0.1", self.port)
        return struct.pack("!ii", 1, 1) + _text(host) + struct.pack("!ii", port, 0)


def _text(text: str) -> bytes:
    return struct.pack("!h", len(text)) + text.encode()


@asynccontextmanager
async def session_broker(lifetime_ms: int = 0) -> AsyncIterator[SessionBroker]:
    """At a port of loopback."""
    broker = SessionBroker(lifetime_ms)
    async with await asyncio.start_server(broker.let_in, "127.0.0.1", 0) as server:
        broker.server = server
        broker.port = server.sockets[0].getsockname()[1]
        try:
            yield broker
        finally:
            await broker.end()

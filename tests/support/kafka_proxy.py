"""A proxy before a broker: it can change its target, and remove requests from the versions that the broker reports."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

API_VERSIONS = 18
_ANSWER = struct.Struct("!ihi")
"""Of version 0: whose answer it is, an error, and how many follow."""
_RANGE_BYTES = 6


@dataclass
class KafkaProxy:
    """Where it listens, where it leads to, and the numbers of the requests that it hides."""

    target: int
    hidden: frozenset[int] = frozenset()
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._enter(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: set[bytes] = set()
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(self._ask(reader, inner_writer, asked), self._answer(inner_reader, writer, asked))
        finally:
            inner_writer.close()
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: set[bytes]) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                if int.from_bytes(frame[:2]) == API_VERSIONS:
                    asked.add(frame[4:8])
                writer.write(struct.pack("!i", len(frame)) + frame)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: set[bytes]) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                if frame[:4] in asked:
                    asked.discard(frame[:4])
                    frame = self._without_hidden(frame)
                writer.write(struct.pack("!i", len(frame)) + frame)
        writer.close()

    def _without_hidden(self, frame: bytes) -> bytes:
        number, error, count = _ANSWER.unpack_from(frame)
        at = [_ANSWER.size + _RANGE_BYTES * place for place in range(count)]
        kept = [each for each in (frame[start : start + _RANGE_BYTES] for start in at) if not self._hides(each)]
        return _ANSWER.pack(number, error, len(kept)) + b"".join(kept)

    def _hides(self, known: bytes) -> bool:
        return int.from_bytes(known[:2]) in self.hidden


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack("!i", await reader.readexactly(4))
    return await reader.readexactly(size)


@asynccontextmanager
async def kafka_proxy(target: int, hidden: frozenset[int] = frozenset()) -> AsyncIterator[KafkaProxy]:
    """Before the broker at this port of loopback."""
    proxy = KafkaProxy(target, hidden)
    async with await asyncio.start_server(proxy.let_in, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            await proxy.end()

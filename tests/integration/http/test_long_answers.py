"""Clients who ask for the page of the topics and do not read it, over real sockets."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from credit_service import bounds
from credit_service.http import server as server_module
from credit_service.http.access import Access
from credit_service.http.app import create_api
from credit_service.http.server import HttpServer, QuickProtocol
from support.patience import patience
from support.plain_http import http_client
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING: Any = None
SCRIPT = "/asyncapi/asyncapi.min.js"
ENCODINGS = ["identity", "gzip"]
# The script is 2.5 MB, or 0.7 MB packed: whole answers to as many would be 250 MB, or 70.
CLIENTS = 100
# What the kernel holds for a client is not the process's; the less of it, the more the process is asked to hold.
KERNEL_BYTES = 4 * 1024


@pytest.fixture
def transports(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Transport]:
    """Those of all connections that the server had."""
    met: list[asyncio.Transport] = []
    made = QuickProtocol.connection_made

    def noting(self: QuickProtocol, transport: asyncio.Transport) -> None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        met.append(transport)
        made(self, transport)

    monkeypatch.setattr(QuickProtocol, "connection_made", noting)
    return met


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def ask(clients: ExitStack, port: int, path: str, encoding: str) -> socket.socket:
    client = clients.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {encoding}\r\n\r\n".encode())
    client.setblocking(False)
    return client


def begun(asked: list[socket.socket]) -> dict[bytes, int]:
    """How many answers have begun, by status line: what the client's kernel holds of them is looked at, not taken."""
    found: dict[bytes, int] = {}
    for client in asked:
        try:
            line = client.recv(1024, socket.MSG_PEEK).partition(b"\r\n")[0]
        except BlockingIOError:
            continue
        found[line] = found.get(line, 0) + 1
    return found


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_client_who_does_not_read_has_little_in_memory(
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    transports: list[asyncio.Transport],
    clients: ExitStack,
) -> None:
    """Nor is it a defect that the server ends meanwhile."""
    monkeypatch.setattr(bounds, "CONCURRENT_LONG_ANSWERS_MAX", CLIENTS)
    monkeypatch.setattr(server_module, "TURN_SECONDS_MAX", patience(60))
    async with HttpServer(create_api(NOTHING, Access(())), "127.0.0.1", 0) as server:
        async with http_client() as reader:  # packed once, and what the first request brings into memory is there
            url = f"http://127.0.0.1:{server.port}{SCRIPT}"
            assert (await reader.get(url, headers={"accept-encoding": encoding})).status_code == 200
        before = resident_bytes()
        asked = [ask(clients, server.port, SCRIPT, encoding) for _ in range(CLIENTS)]
        await eventually(lambda: begun(asked) == {b"HTTP/1.1 200 OK": CLIENTS}, what="all answers have begun")
        unsent = [transport.get_write_buffer_size() for transport in transports]
        await eventually(lambda: sum(t.get_write_buffer_size() > bounds.UNSENT_BYTES_MAX for t in transports) > 1)
        assert max(unsent) <= bounds.UNSENT_BYTES_MAX + bounds.PIECE_BYTES_MAX
        # Twice: a buffer that grows has room beyond what it holds.
        each = 2 * (bounds.UNSENT_BYTES_MAX + bounds.PIECE_BYTES_MAX)
        assert resident_bytes() - before < CLIENTS * each
        assert server.connections == CLIENTS
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("path", [SCRIPT, "/asyncapi.json"])
async def test_one_long_answer_too_many_is_told_to_come_again(
    path: str, monkeypatch: pytest.MonkeyPatch, transports: list[asyncio.Transport], clients: ExitStack
) -> None:
    """At a tiny bound; who does not read is cut off, and has then made room."""
    monkeypatch.setattr(bounds, "CONCURRENT_LONG_ANSWERS_MAX", 2)
    monkeypatch.setattr(bounds, "UNSENT_BYTES_MAX", 1)
    monkeypatch.setattr(bounds, "PIECE_BYTES_MAX", 1_000)
    async with HttpServer(create_api(NOTHING, Access(())), "127.0.0.1", 0) as server, http_client() as reader:
        url = f"http://127.0.0.1:{server.port}{path}"
        monkeypatch.setattr(server_module, "TURN_SECONDS_MAX", patience(5))
        whole = await reader.get(url)
        assert whole.status_code == 200
        asked = [ask(clients, server.port, path, "identity") for _ in range(2)]
        await eventually(lambda: begun(asked) == {b"HTTP/1.1 200 OK": 2}, what="both answers have begun")
        assert max(transport.get_write_buffer_size() for transport in transports) <= 1 + 1_000
        refused = await reader.get(url)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        detail = "too many requests at the same time"
        assert json.loads(refused.text) == {"title": "Service Unavailable", "status": 503, "detail": detail}
        await eventually(lambda: all(t.is_closing() for t in transports[1:3]), what="both are cut off")
        again = await reader.get(url)
        assert (again.status_code, again.content) == (200, whole.content)

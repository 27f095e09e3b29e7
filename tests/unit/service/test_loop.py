"""A TLS connection that is hung up on has an end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path

from credit_service.loop import TLS_END_SECONDS_MAX, run_in_loop
from credit_service.tls import client_context
from support.secured import make_files

# uvloop's own bound is half a minute.
PATIENCE_SECONDS = TLS_END_SECONDS_MAX + 9


class Told(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set()


def test_a_tls_connection_ends_though_the_other_side_never_says_goodbye(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.keystore)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer_once_and_then_hold_the_line() -> None:
            accepted, _ = listening.accept()
            with context.wrap_socket(accepted, server_side=True):
                done.wait()

        async def connect_and_close() -> None:
            loop = asyncio.get_running_loop()
            protocol = Told()
            tls = client_context(files.ca, None, None)
            transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port, ssl=tls)
            transport.close()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await protocol.lost.wait()

        holding = threading.Thread(target=answer_once_and_then_hold_the_line)
        holding.start()
        try:
            run_in_loop(connect_and_close())
        finally:
            done.set()
            holding.join()

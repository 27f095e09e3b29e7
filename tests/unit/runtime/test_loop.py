"""Connections that the other side closes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest

from credit_service.runtime.loop import TLS_END_SECONDS_MAX, run_in_loop
from credit_service.runtime.tls import client_context
from support.patience import patience
from support.secured import make_files

# asyncio's own bound is half a minute.
PATIENCE_SECONDS = TLS_END_SECONDS_MAX + 19


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
            async with asyncio.timeout(patience(PATIENCE_SECONDS)):
                await protocol.lost.wait()

        holding = threading.Thread(target=answer_once_and_then_hold_the_line)
        holding.start()
        try:
            run_in_loop(connect_and_close())
        finally:
            done.set()
            holding.join()


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_what_is_written_after_the_other_side_has_hung_up_raises_nothing_but_a_broken_connection(
    is_encrypted: bool, tmp_path: Path
) -> None:
    # aiokafka writes until its reader hears of the end, and expects an OSError: by anything else its tasks end unseen.
    files = make_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.keystore)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer_and_hang_up() -> None:
            accepted, _ = listening.accept()
            if is_encrypted:
                accepted = context.wrap_socket(accepted, server_side=True)
            accepted.close()

        async def write_after_the_end() -> int:
            loop = asyncio.get_running_loop()
            protocol = Told()
            tls = client_context(files.ca, None, None) if is_encrypted else None
            transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port, ssl=tls)
            async with asyncio.timeout(patience(PATIENCE_SECONDS)):
                await protocol.lost.wait()
            written = 0
            for _ in range(20):
                with contextlib.suppress(OSError):
                    transport.write(b"is anybody there?")
                written += 1
                await asyncio.sleep(0)
            return written

        answering = threading.Thread(target=answer_and_hang_up)
        answering.start()
        try:
            assert run_in_loop(write_after_the_end()) == 20
        finally:
            answering.join()

"""TLS before a Postgres that was built without it: a proxy that ends the handshake of Postgres's protocol."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trustme

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOST = "127.0.0.1"
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_CHUNK_BYTES = 64 * 1024


@asynccontextmanager
async def tls_before(database_url: str, folder: Path) -> AsyncIterator[str]:
    """The address of a door to that server, by `HOST`, the one name that its certificate has.

    `folder` gets `ca.pem`, who signed it, and `other-ca.pem`, who did not. Who speaks without TLS is not answered.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    behind = urlsplit(database_url)

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                inner_reader, inner_writer = await asyncio.open_connection(behind.hostname, behind.port)
                await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        writer.close()

    async with await asyncio.start_server(enter, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield behind._replace(netloc=f"{behind.netloc.rpartition('@')[0]}@{HOST}:{port}").geturl()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()

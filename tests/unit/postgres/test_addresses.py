"""A name with several addresses: one that swallows what is sent does not keep the service from the next."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from credit_service.kafka.access import probe as access
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.reauthentication import connect
from credit_service.kafka.connect.token_endpoint import OAuthClient, from_endpoint
from credit_service.runtime.loop import Loop, run_in_loop
from support.patience import patience
from support.session_broker import session_broker
from support.tokens_of_kafka import Endpoint, giving_tokens, the_signer

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "name.example"
PROMISED_SILENT_SECONDS = 0.2


@contextmanager
def silent_address() -> Iterator[int]:
    """A port of loopback whose queue is full: the system drops what asks for another connection."""
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listening.getsockname()[1]
        for _ in range(8):
            waiting = opened.enter_context(socket.socket())
            waiting.settimeout(PROMISED_SILENT_SECONDS)
            try:
                waiting.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        else:
            pytest.fail("the port takes more than its queue holds")
        yield port


@pytest.fixture(autouse=True)
def _the_first_is_silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with silent_address() as silent:

        async def addresses(_self: Loop, host: str, port: int, **_: Any) -> list[Any]:
            assert host == NAME
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*kind, ("127.0.0.1", each)) for each in (silent, port)]

        monkeypatch.setattr(Loop, "getaddrinfo", addresses)
        yield


def test_a_broker_is_reached_at_the_next_address() -> None:
    async def reach() -> bool:
        async with session_broker() as broker:
            deployment = KafkaConnection(f"{NAME}:{broker.port}", "group")
            connection = await connect(deployment, NAME, broker.port, 60_000)
            is_there = bool(connection.connected())
            await connection.close()
            return is_there

    assert run_in_loop(reach())


def test_so_is_one_that_a_client_begins_with() -> None:
    async def reach() -> int:
        async with session_broker() as broker:
            admin = create_client(AIOKafkaAdminClient, KafkaConnection(f"{NAME}:{broker.port}", "group"))
            await admin.start()
            await admin.close()
            return broker.connections

    assert run_in_loop(reach()) >= 1


def test_so_is_one_that_is_asked_for_rights_in_the_time_that_it_has_among_several() -> None:
    async def reach() -> bool:
        async with session_broker() as broker:
            deployment = KafkaConnection(f"{NAME}:{broker.port},{NAME}:{broker.port}", "group")
            async with access._any_broker(deployment) as connection:
                return bool(connection.connected())

    assert run_in_loop(reach())


def test_so_is_an_endpoint_of_tokens() -> None:
    endpoint = Endpoint(the_signer(), "client", "secret", "service", 300)
    with giving_tokens(endpoint):
        url = endpoint.url.replace("127.0.0.1", NAME)
        token = run_in_loop(from_endpoint(OAuthClient(url, "client", "secret")))
    assert endpoint.given == [token.text]


def test_so_is_postgres() -> None:
    async def reach() -> bytes:
        asked: asyncio.Queue[bytes] = asyncio.Queue()

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.put_nowait(await reader.read(1024))
            writer.close()

        async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises((OSError, asyncpg.ConnectionDoesNotExistError)):
                await asyncpg.connect(
                    host=NAME, port=port, user="somebody", database="credits", ssl=False, timeout=patience(5)
                )
            return asked.get_nowait()

    assert b"somebody" in run_in_loop(reach())

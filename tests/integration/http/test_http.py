"""The read API on a real ledger, over a real socket."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from credit_contracts import EmailBounced, Event, PlanChanged, ProspectGenerated
from credit_service import bounds
from credit_service.application.readiness import Status
from credit_service.http import server as server_module
from credit_service.http.app import create_api, create_health_app
from credit_service.http.request_limits import ANSWER_HEADERS, RequestLimits
from credit_service.http.server import CannotListen, HttpServer, serving
from credit_service.postgres.pool import open_pool
from credit_service.postgres.reads.queries import PostgresReads
from support.credits import decide_events
from support.patience import patience
from support.plain_http import http_client
from support.tokens import ACCESS, BEARER
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from credit_contracts import IncomingData

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def event(data: IncomingData, event_type: str, event_id: str, minute: int) -> Event[IncomingData]:
    return Event("/tests", event_id, event_type, NOON + timedelta(minutes=minute), data)


def plan(account_id: str, monthly_credits: int | None, minute: int, event_id: str) -> Event[IncomingData]:
    data = PlanChanged(account_id=account_id, plan_id="pro", monthly_credits=monthly_credits, seats=3)
    return event(data, "plan-changed", event_id, minute)


def generated(account_id: str, prospect_id: str, minute: int, event_id: str) -> Event[IncomingData]:
    return event(
        ProspectGenerated(account_id=account_id, prospect_id=prospect_id), "prospect-generated", event_id, minute
    )


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        open_pool(database_url) as pool,
        HttpServer(create_api(PostgresReads(pool), ACCESS), "127.0.0.1", 0) as server,
        http_client(base_url=f"http://127.0.0.1:{server.port}", timeout=patience(10), headers=BEARER) as client,
    ):
        yield client


async def test_an_account_as_it_stands(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, plan("acme", 2, 0, "e0"), generated("acme", "p1", 1, "e1"))
    answer = await client.get("/v1/accounts/acme")
    assert answer.json() == {
        "account_id": "acme",
        "balance": 1,
        "unlimited": False,
        "sequence": 2,
        "plan": {"plan_id": "pro", "monthly_credits": 2, "seats": 3, "email_accounts": None},
        "period": {"starts_at": "2026-03-10T12:00:00.000000Z", "ends_at": "2026-04-10T12:00:00.000000Z"},
        "grants": [
            {
                "grant_id": 1,
                "origin": "plan",
                "amount": 2,
                "remaining": 1,
                "effective_at": "2026-03-10T12:00:00.000000Z",
                "expires_at": "2026-04-10T12:00:00.000000Z",
            }
        ],
        "declined_in_period": 0,
    }


async def test_an_unlimited_account_has_no_balance(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, plan("acme", 5, 0, "e0"), plan("acme", None, 1, "e1"))
    account = (await client.get("/v1/accounts/acme")).json()
    assert (account["balance"], account["unlimited"], account["plan"]["monthly_credits"]) == (None, True, None)
    assert [grant["remaining"] for grant in account["grants"]] == [5]


async def test_grants_come_in_the_order_in_which_they_burn(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, plan("acme", 1, 0, "e0"))
    async with open_pool(database_url) as pool:
        await pool.execute(
            """
            INSERT INTO credits.grants
                (account_no, grant_id, origin, amount, remaining, effective_at, expires_at, open, position)
            VALUES
                (1, 2, 'purchase', 5, 5, '2026-03-10', NULL, true, 1),
                (1, 3, 'purchase', 5, 5, '2026-03-10', '2026-03-20', true, 1),
                (1, 4, 'purchase', 5, 5, '2026-03-09', NULL, true, 1),
                (1, 5, 'purchase', 5, 0, '2026-03-01', '2026-03-02', false, 1)
            """
        )
    account = (await client.get("/v1/accounts/acme")).json()
    assert [grant["grant_id"] for grant in account["grants"]] == [3, 1, 4, 2]


async def test_an_account_that_waits_for_its_plan_has_nothing_yet(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, generated("acme", "p1", 0, "e0"))
    account = (await client.get("/v1/accounts/acme")).json()
    assert (account["balance"], account["plan"], account["period"], account["grants"]) == (0, None, None, [])


async def test_entries_page_by_sequence_until_the_last(client: httpx.AsyncClient, database_url: str) -> None:
    charges = [generated("acme", f"p{n}", n, f"e{n}") for n in range(1, 5)]
    await decide_events(database_url, plan("acme", 10, 0, "e0"), *charges)
    pages, after = [], 0
    while after is not None:
        page = (await client.get("/v1/accounts/acme/entries", params={"after": after, "limit": 2})).json()
        pages.append([entry["sequence"] for entry in page["entries"]])
        after = page["next_after"]
    assert pages == [[1, 2], [3, 4], [5]]


async def test_the_last_page_says_so_also_when_it_is_full(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, plan("acme", 10, 0, "e0"), generated("acme", "p1", 1, "e1"))
    page = (await client.get("/v1/accounts/acme/entries?limit=2")).json()
    assert (len(page["entries"]), page["next_after"]) == (2, None)


async def test_an_entry_names_the_event_that_caused_it(client: httpx.AsyncClient, database_url: str) -> None:
    bounce = event(EmailBounced(account_id="acme", prospect_id="p1"), "email-bounced", "e2", 2)
    await decide_events(database_url, plan("acme", 10, 0, "e0"), generated("acme", "p1", 1, "e1"), bounce)
    entries = (await client.get("/v1/accounts/acme/entries")).json()["entries"]
    refund = entries[2]
    del refund["recorded_at"]
    assert refund == {
        "sequence": 3,
        "line": 0,
        "grant_id": 1,
        "amount": 1,
        "previous_balance": 9,
        "balance": 10,
        "reason": "refund",
        "cause": {"source": "/tests", "id": "e2", "type": "email-bounced"},
        "prospect_id": "p1",
        "refunds_sequence": 2,
        "period_ends_at": "2026-04-10T12:00:00.000000Z",
        "occurred_at": "2026-03-10T12:02:00.000000Z",
    }


async def test_what_became_of_an_event(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, plan("acme", 0, 0, "e0"), generated("acme", "p1", 1, "e1"))
    answer = await client.get("/v1/accounts/acme/decisions", params={"source": "/tests", "id": "e1"})
    decision = answer.json()
    del decision["decided_at"]
    assert decision == {
        "status": "decided",
        "account_id": "acme",
        "source": "/tests",
        "id": "e1",
        "type": "prospect-generated",
        "occurred_at": "2026-03-10T12:01:00.000000Z",
        "outcome": "declined",
        "position": 2,
        "prospect_id": "p1",
        "declined_in_period": 1,
        "note": None,
        "place": {"topic": "prospect-generated", "partition": 0, "offset": 0},
    }


async def test_an_event_that_waits_says_so(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, generated("acme", "p1", 0, "e0"))
    answer = await client.get("/v1/accounts/acme/decisions", params={"source": "/tests", "id": "e0"})
    parked = answer.json()
    assert (parked["status"], parked["type"], parked["place"]["offset"]) == ("parked", "prospect-generated", 0)


async def test_an_id_belongs_to_its_source_and_its_account(client: httpx.AsyncClient, database_url: str) -> None:
    await decide_events(database_url, plan("acme", 0, 0, "e0"), plan("other", 0, 0, "e1"))
    for source, event_id in (("/tests", "e1"), ("/test", "se0"), ("/elsewhere", "e0")):
        answer = await client.get("/v1/accounts/acme/decisions", params={"source": source, "id": event_id})
        assert answer.status_code == 404


async def test_reads_and_readiness_survive_a_database_that_is_not_there() -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    status = Status()
    status.set("start", None)
    async with open_pool(nowhere) as pool:
        reads = PostgresReads(pool)
        api = HttpServer(create_api(reads, ACCESS), "127.0.0.1", 0)
        health = HttpServer(create_health_app(status, reads.ping, CollectorRegistry()), "127.0.0.1", 0)
        async with serving(api, health, end_seconds_max=3), http_client(timeout=patience(10), headers=BEARER) as client:
            assert (await client.get(f"http://127.0.0.1:{api.port}/v1/accounts/acme")).status_code == 503
            ready = await client.get(f"http://127.0.0.1:{health.port}/readyz")
            assert (ready.status_code, list(ready.json()["problems"])) == (503, ["database"])
            assert (await client.get(f"http://127.0.0.1:{health.port}/livez")).status_code == 200


async def test_the_server_leaves_signals_alone_and_frees_its_port() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    app = create_api(PostgresReads(open_pool("postgresql://nobody@127.0.0.1:1/nothing")), ACCESS)
    async with HttpServer(app, "127.0.0.1", 0) as server:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        with pytest.raises(CannotListen, match=rf"port {server.port}: Address already in use"):
            await HttpServer(app, "127.0.0.1", server.port).start()
    with socket.create_server(("127.0.0.1", server.port)):
        pass


async def test_a_client_that_is_slow_to_ask_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TURN_SECONDS_MAX", 0.2)
    async with HttpServer(answers_at_length, "127.0.0.1", 0) as server:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), patience(20)) == b""
            writer.close()


async def test_a_client_that_is_slow_to_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TURN_SECONDS_MAX", 0.2)
    async with HttpServer(answers_at_length, "127.0.0.1", 0) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await eventually(lambda: server.connections == 1, what="it is connected")
            await eventually(lambda: server.connections == 0, what="it is cut off")


async def test_a_client_who_does_not_read_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it asked for next waits for it longer than an answer may take."""
    monkeypatch.setattr(server_module, "TURN_SECONDS_MAX", 0.4)
    async with HttpServer(RequestLimits(answers_at_length, answer_seconds_max=0.05), "127.0.0.1", 0) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            await eventually(lambda: server.connections == 1, what="it is connected")
            await eventually(lambda: server.connections == 0, what="it is cut off")
    assert caplog.messages == []


async def test_more_connections_than_there_may_be_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HTTP_CONNECTIONS_MAX", 3)
    async with HttpServer(answers_at_length, "127.0.0.1", 0) as server:
        kept = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        await eventually(lambda: server.connections == 3)
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), patience(30)) == b""
            writer.close()
        assert server.connections == 3
        # The last of those that may be is answered, and one that goes makes room for another.
        kept[-1][1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await kept[-1][0].readline() == b"HTTP/1.1 200 OK\r\n"
        kept[0][1].close()
        await eventually(lambda: server.connections == 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        for _, other in (*kept, (reader, writer)):
            other.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 64 * 1024,
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    ],
    ids=["no request", "no host", "a long head", "a broken body"],
)
async def test_what_is_no_http_is_a_problem_too(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with HttpServer(RequestLimits(answers_at_length), "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        head, _, body = (await asyncio.wait_for(reader.read(), patience(30))).partition(b"\r\n\r\n")
        writer.close()
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert status == "HTTP/1.1 400 Bad Request"
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert {name: headers[name.lower()] for name in ANSWER_HEADERS} == dict(ANSWER_HEADERS)
    assert json.loads(body) == {"title": "Bad Request", "status": 400, "detail": "this cannot be read as HTTP"}
    assert caplog.messages == ["Invalid HTTP request received."]


async def answers_at_length(scope: Scope, receive: Receive, send: Send) -> None:
    """More than the buffers of any system hold."""
    await Response(b"a" * 64 * 1024 * 1024)(scope, receive, send)


async def test_a_body_ends_the_connection(client: httpx.AsyncClient) -> None:
    answer = await client.request("GET", "/v1/accounts/acme", content=b"{}")
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_server_that_was_never_started_can_be_stopped() -> None:
    await HttpServer(lambda *_: None, "127.0.0.1", 0).stop()  # type: ignore[arg-type]

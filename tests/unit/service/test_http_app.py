"""The read API on answers of the test's own, without a socket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from credit_service.application.faults import LedgerUnavailable
from credit_service.application.read import AccountSnapshot, CurrentPeriod, DecidedEvent, EntriesPage, ParkedEvent
from credit_service.http.app import create_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SNAPSHOT = AccountSnapshot(
    account_id="acme",
    balance=None,
    unlimited=True,
    sequence=1,
    plan=None,
    period=CurrentPeriod(starts_at=datetime(2026, 1, 1, tzinfo=UTC), ends_at=datetime(2026, 2, 1, tzinfo=UTC)),
    grants=[],
    declined_in_period=0,
)


class Sources:
    """Notes what was asked."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.asked: list[tuple[Any, ...]] = []

    async def account(self, account_id: str) -> AccountSnapshot | None:
        if self.away:
            raise self.away
        self.asked.append((account_id,))
        return SNAPSHOT if account_id in ("acme", "acme/eu", "100% ü") else None

    async def entries(self, account_id: str, *, after: int, limit: int) -> EntriesPage | None:
        self.asked.append((account_id, after, limit))
        return EntriesPage(account_id=account_id, entries=[], next_after=None) if account_id == "acme" else None

    async def event(self, account_id: str, source: str, event_id: str) -> DecidedEvent | ParkedEvent | None:
        self.asked.append((account_id, source, event_id))
        return None


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
async def client(sources: Sources) -> AsyncIterator[httpx.AsyncClient]:
    app = create_api(sources)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


def assert_problem(answer: httpx.Response, status: int, detail: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["detail"]) == (status, detail)


async def test_an_account_has_exactly_the_fields_that_were_agreed_on(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/accounts/acme")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "account_id": "acme",
        "balance": None,
        "unlimited": True,
        "sequence": 1,
        "plan": None,
        "period": {"starts_at": "2026-01-01T00:00:00.000000Z", "ends_at": "2026-02-01T00:00:00.000000Z"},
        "grants": [],
        "declined_in_period": 0,
    }


@pytest.mark.parametrize(("path", "account_id"), [("acme%2Feu", "acme/eu"), ("100%25%20%C3%BC", "100% ü")])
async def test_an_id_may_hold_anything_that_can_be_escaped(
    path: str, account_id: str, client: httpx.AsyncClient, sources: Sources
) -> None:
    assert (await client.get(f"/v1/accounts/{path}")).status_code == 200
    assert sources.asked == [(account_id,)]


@pytest.mark.parametrize("path", ["nobody", "nobody/entries"])
async def test_an_unknown_account_is_a_404(path: str, client: httpx.AsyncClient) -> None:
    assert_problem(await client.get(f"/v1/accounts/{path}"), 404, "no such account")


async def test_an_event_that_never_came_is_a_404(client: httpx.AsyncClient, sources: Sources) -> None:
    answer = await client.get("/v1/accounts/acme/decisions", params={"source": "/a?b", "id": "e 1"})
    assert_problem(answer, 404, "no event of this source and id was decided or is parked")
    assert sources.asked == [("acme", "/a?b", "e 1")]


async def test_entries_are_paged(client: httpx.AsyncClient, sources: Sources) -> None:
    await client.get("/v1/accounts/acme/entries")
    await client.get("/v1/accounts/acme/entries?after=7&limit=1000")
    assert sources.asked == [("acme", 0, 100), ("acme", 7, 1000)]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/accounts/%00", "account_id"),
        ("/v1/accounts/%FF", "account_id"),
        (f"/v1/accounts/{'a' * 129}", "account_id"),
        ("/v1/accounts/acme/entries?after=-1", "after"),
        ("/v1/accounts/acme/entries?after=99999999999999999999", "after"),
        ("/v1/accounts/acme/entries?limit=0", "limit"),
        ("/v1/accounts/acme/entries?limit=1001", "limit"),
        ("/v1/accounts/acme/entries?limit=many", "limit"),
        ("/v1/accounts/acme/decisions?id=1", "source"),
        ("/v1/accounts/acme/decisions?source=/a", "id"),
        ("/v1/accounts/acme/decisions?source=/a&id=%00", "id"),
    ],
)
async def test_a_bad_parameter_is_a_400_that_names_it_and_asks_nobody(
    path: str, parameter: str, client: httpx.AsyncClient, sources: Sources
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(f"{parameter}: ")
    assert sources.asked == []


async def test_while_the_database_is_away_reads_are_a_503(client: httpx.AsyncClient, sources: Sources) -> None:
    sources.away = LedgerUnavailable("ConnectionRefusedError")
    answer = await client.get("/v1/accounts/acme")
    assert_problem(answer, 503, "the database does not answer")
    assert answer.headers["retry-after"] == "1"


async def test_a_defect_is_a_500_that_tells_nothing(client: httpx.AsyncClient, sources: Sources) -> None:
    sources.away = RuntimeError("hunter2")
    assert_problem(await client.get("/v1/accounts/acme"), 500, "the service failed to answer")


async def test_what_there_is_not_is_a_problem_too(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/nowhere"), 404, "Not Found")
    assert_problem(await client.get("/v1/accounts/acme/entries/"), 404, "Not Found")
    assert_problem(await client.get("/livez"), 404, "Not Found")
    assert_problem(await client.post("/v1/accounts/acme"), 405, "Method Not Allowed")

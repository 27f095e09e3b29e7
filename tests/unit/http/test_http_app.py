"""The read API on answers of the test's own, without a socket."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from credit_service import bounds
from credit_service.application.auth.tokens import Scope, Token, new_token, sha256_of
from credit_service.application.errors import LedgerUnavailable
from credit_service.application.queries import AccountSnapshot, CurrentPeriod, DecidedEvent, EntriesPage, ParkedEvent
from credit_service.http.access import Access
from credit_service.http.app import create_api
from credit_service.http.openapi import rendered
from credit_service.http.request_limits import ANSWER_HEADERS, HEADERS_BYTES_MAX, TARGET_BYTES_MAX, RequestLimits
from support.tokens import ACCESS, BEARER
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Message

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
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.waiting = 0
        self.asked: list[tuple[Any, ...]] = []

    async def account(self, account_id: str) -> AccountSnapshot | None:
        if self.away:
            raise self.away
        self.waiting += 1
        await self.may_answer.wait()
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
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def client(sources: Sources, registry: CollectorRegistry) -> AsyncIterator[httpx.AsyncClient]:
    app = create_api(sources, ACCESS, registry=registry)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=BEARER) as client:
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
        ("/v1/accounts/acme/entries?limit=1_0", "limit"),
        ("/v1/accounts/acme/entries?limit=%205", "limit"),
        ("/v1/accounts/acme/entries?limit=5.0", "limit"),
        ("/v1/accounts/acme/entries?limit=", "limit"),
        ("/v1/accounts/acme/entries?limit=1&limit=2", "query"),
        ("/v1/accounts/acme/entries?limt=5", "query"),
        ("/v1/accounts/acme?after=5", "query"),
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


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/accounts/acme",
        "/v1/accounts/acme/entries",
        "/openapi.json",
        "/asyncapi",
        "/asyncapi/page.css",
        "/asyncapi.json",
    ],
)
async def test_whatever_is_no_get_is_a_405_that_says_what_is_allowed(
    method: str, path: str, client: httpx.AsyncClient, sources: Sources
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.headers["content-type"] == "application/problem+json"
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


# --- who may read


OF_ACME = new_token()
OF_ENTRIES = new_token()
OVER = new_token()
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def stranger(sources: Sources) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token, of an API that knows several."""
    tokens = [
        Token(name="acme", sha256=sha256_of(OF_ACME), scopes=frozenset({Scope.ACCOUNTS}), account_id="acme"),
        Token(name="entries", sha256=sha256_of(OF_ENTRIES), scopes=frozenset({Scope.ENTRIES})),
        Token(name="over", sha256=sha256_of(OVER), scopes=frozenset(Scope), expires_at=NOW),
    ]
    transport = httpx.ASGITransport(create_api(sources, Access(tokens, clock=lambda: NOW)))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


def shown(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


PATHS = [
    "/v1/accounts/acme",
    "/v1/accounts/nobody",
    "/v1/accounts/%FF",
    "/v1/accounts/acme/entries?limit=wrong",
    "/v1/accounts/acme/decisions",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [{}, shown(new_token()), shown(OVER), shown("hunter2"), {"Authorization": "Basic aHVudGVyMg=="}],
    ids=["none", "unknown", "expired", "no token", "basic"],
)
async def test_without_a_valid_token_all_is_the_same_401_and_nobody_is_asked(
    path: str, headers: dict[str, str], stranger: httpx.AsyncClient, sources: Sources
) -> None:
    answer = await stranger.get(path, headers=headers)
    assert_problem(answer, 401, "a valid bearer token is needed")
    error = ', error="invalid_token"' if headers else ""
    assert answer.headers["www-authenticate"] == f'Bearer realm="credit-service"{error}'
    assert answer.json().keys() == {"title", "status", "detail"}
    assert sources.asked == []


@pytest.mark.parametrize(
    ("token", "path"),
    [
        (OF_ACME, "/v1/accounts/acme%2Feu"),  # there is such an account
        (OF_ACME, "/v1/accounts/nobody"),
        (OF_ACME, "/v1/accounts/%FF"),
        (OF_ACME, "/v1/accounts/acme/entries?limit=wrong"),
        (OF_ENTRIES, "/v1/accounts/acme"),
        (OF_ENTRIES, "/v1/accounts/nobody/decisions"),
    ],
    ids=range(6),  # tokens are new each time, and what a test is called must not be
)
async def test_what_a_token_does_not_open_is_the_same_403_whatever_there_is(
    token: str, path: str, stranger: httpx.AsyncClient, sources: Sources
) -> None:
    answer = await stranger.get(path, headers=shown(token))
    assert_problem(answer, 403, "this token does not open this")
    assert (await stranger.get("/v1/accounts/other", headers=shown(OF_ACME))).content == answer.content
    assert sources.asked == []


async def test_a_token_opens_what_it_says(stranger: httpx.AsyncClient) -> None:
    assert (await stranger.get("/v1/accounts/acme", headers=shown(OF_ACME))).status_code == 200
    assert (await stranger.get("/v1/accounts/acme/entries", headers=shown(OF_ENTRIES))).status_code == 200
    assert_problem(await stranger.get("/v1/accounts/nobody/entries", headers=shown(OF_ENTRIES)), 404, "no such account")


async def test_a_token_in_the_query_opens_nothing(stranger: httpx.AsyncClient) -> None:
    assert (await stranger.get("/v1/accounts/acme", params={"access_token": OF_ACME})).status_code == 401


async def test_whoever_comes_gets_the_document(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/openapi.json")
    assert (answer.status_code, answer.text) == (200, rendered())


async def test_tokens_are_in_no_answer_and_in_no_log(
    stranger: httpx.AsyncClient, sources: Sources, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.away = RuntimeError("a defect")
    with caplog.at_level("DEBUG"), pytest.raises(RuntimeError):
        await stranger.get("/v1/accounts/acme", headers=shown(OF_ACME))
    sources.away = LedgerUnavailable("ConnectionRefusedError")
    answers = [
        await stranger.get(path, headers=shown(token)) for path in PATHS for token in (OF_ACME, OF_ENTRIES, OVER)
    ]
    told = "".join(answer.text + str(answer.headers) for answer in answers) + caplog.text + "".join(capsys.readouterr())
    for token in (OF_ACME, OF_ENTRIES, OVER):
        assert token not in told
        assert sha256_of(token) not in told


# --- bounds


@pytest.mark.parametrize(
    ("given", "status", "detail"),
    [
        ({"url": "/v1/accounts/acme?a=" + "a" * TARGET_BYTES_MAX}, 414, "path and query have more than 8192 bytes"),
        ({"url": "/v1/accounts/" + "a" * TARGET_BYTES_MAX}, 414, "path and query have more than 8192 bytes"),
        ({"headers": {"x-more": "a" * HEADERS_BYTES_MAX}}, 431, "the headers have more than 8192 bytes"),
        ({"content": b"{}"}, 413, "a request has no body here"),
        ({"content": b"{}", "headers": {"transfer-encoding": "chunked"}}, 413, "a request has no body here"),
    ],
)
async def test_a_request_that_is_too_large_is_refused(
    given: dict[str, Any], status: int, detail: str, client: httpx.AsyncClient, sources: Sources
) -> None:
    assert_problem(await client.request("GET", **{"url": "/v1/accounts/acme"} | given), status, detail)
    assert sources.asked == []


async def test_ids_at_their_longest_are_asked_about(client: httpx.AsyncClient, sources: Sources) -> None:
    account_id, source, event_id = ("\U0001f98a" * count for count in (128, 256, 160))
    answer = await client.get(f"/v1/accounts/{quote(account_id)}/decisions", params={"source": source, "id": event_id})
    assert answer.status_code == 404
    assert sources.asked == [(account_id, source, event_id)]


async def test_more_than_can_be_answered_at_the_same_time_are_sent_away(
    client: httpx.AsyncClient, sources: Sources
) -> None:
    sources.may_answer.clear()
    waiting = [asyncio.create_task(client.get("/v1/accounts/acme")) for _ in range(bounds.CONCURRENT_READS_MAX)]
    await eventually(lambda: sources.waiting == bounds.CONCURRENT_READS_MAX, what="all are asked")
    refused = await client.get("/v1/accounts/acme")
    assert_problem(refused, 503, "too many requests at the same time")
    assert refused.headers["retry-after"] == "1"
    sources.may_answer.set()
    assert {(await one).status_code for one in waiting} == {200}
    assert (await client.get("/v1/accounts/acme")).status_code == 200


async def test_who_may_not_ask_keeps_nobody_out(sources: Sources) -> None:
    """However many of them there are, and however slowly they read."""
    app = create_api(sources, ACCESS)
    begun, may_end = 0, asyncio.Event()

    async def slow(message: Message) -> None:
        nonlocal begun
        begun += message["type"] == "http.response.start"
        await may_end.wait()

    given: dict[str, Any] = {"type": "http", "method": "GET", "query_string": b"", "headers": [], "path": "/"}
    paths = [
        b"/asyncapi/asyncapi.min.js",
        b"/openapi.json",
        b"/v1/accounts/acme",
        b"/nowhere",
    ] * bounds.CONCURRENT_READS_MAX
    reading = [asyncio.ensure_future(app({**given, "raw_path": path}, no_body, slow)) for path in paths]
    await eventually(lambda: begun == len(paths))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=BEARER) as client:
        assert (await client.get("/v1/accounts/acme")).status_code == 200
    may_end.set()
    await asyncio.gather(*reading)


async def no_body() -> Message:
    return {"type": "http.request"}


async def test_a_time_that_is_not_the_guards_is_a_defect(sources: Sources) -> None:
    sources.away = TimeoutError()
    transport = httpx.ASGITransport(create_api(sources, ACCESS))
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=BEARER) as client:
        with pytest.raises(TimeoutError):
            await client.get("/v1/accounts/acme")


async def test_an_answer_that_takes_too_long_is_given_up(sources: Sources) -> None:
    sources.may_answer.clear()
    app = RequestLimits(create_api(sources, ACCESS), answer_seconds_max=0.01)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service", headers=BEARER
    ) as client:
        answer = await client.get("/v1/accounts/acme")
    assert_problem(answer, 503, "the answer took too long")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/v1/accounts/acme", "/v1/accounts/nobody", "/openapi.json", "/nowhere"])
async def test_no_answer_is_kept_sniffed_or_embedded(path: str, client: httpx.AsyncClient) -> None:
    headers = (await client.get(path)).headers
    assert {name: headers[name] for name in ANSWER_HEADERS} == dict(ANSWER_HEADERS)


async def test_a_defect_is_not_kept_either(client: httpx.AsyncClient, sources: Sources) -> None:
    sources.away = RuntimeError()
    assert (await client.get("/v1/accounts/acme")).headers["cache-control"] == "no-store"


# --- what is counted


def answers(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """By operation and status, those that there were."""
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return {
        (sample.labels["operation"], sample.labels["status"]): sample.value
        for sample in samples
        if sample.name == "credits_http_answers_total" and sample.value
    }


async def test_answers_are_counted_by_operation_and_status(
    client: httpx.AsyncClient, sources: Sources, registry: CollectorRegistry
) -> None:
    for path in ("/v1/accounts/acme", "/v1/accounts/acme", "/v1/accounts/nobody", "/v1/accounts/%00"):
        await client.get(path)
    await client.get("/v1/accounts/acme/entries")
    await client.get("/v1/accounts/acme/decisions?source=/a&id=b")
    await client.get("/v1/accounts/acme/entries", headers={"Authorization": "Bearer guessed"})
    await client.post("/v1/accounts/acme/entries")
    await client.get("/v1/nothing-here")
    await client.get("/openapi.json")
    await client.get("/v1/accounts/" + "a" * TARGET_BYTES_MAX)
    sources.away = LedgerUnavailable("away")
    await client.get("/v1/accounts/acme")
    sources.away = ValueError("a defect")
    await client.get("/v1/accounts/acme")

    assert answers(registry) == {
        ("readAccount", "200"): 2,
        ("readAccount", "404"): 1,
        ("readAccount", "400"): 1,
        ("readAccount", "503"): 1,
        ("readAccount", "500"): 1,
        ("readEntries", "200"): 1,
        ("readEntries", "401"): 1,
        ("readEntries", "405"): 1,
        ("readDecision", "404"): 1,
        ("other", "404"): 1,
        ("other", "200"): 1,
        ("other", "414"): 1,
    }
    assert registry.get_sample_value("credits_http_answer_seconds_count", {"operation": "readAccount"}) == 6
    shown = generate_latest(registry).decode()
    assert not any(word in shown for word in ("acme", "nobody", "nothing-here", "guessed"))


async def test_what_is_counted_is_there_from_the_start(client: httpx.AsyncClient, registry: CollectorRegistry) -> None:
    before = registry.get_sample_value("credits_http_answers_total", {"operation": "readEntries", "status": "401"})
    assert before == 0
    series = generate_latest(registry).decode().count("\n")
    await client.get("/v1/accounts/acme")
    assert generate_latest(registry).decode().count("\n") == series


async def test_who_goes_away_before_an_answer_is_not_counted(registry: CollectorRegistry, sources: Sources) -> None:
    sources.may_answer.clear()
    transport = httpx.ASGITransport(create_api(sources, ACCESS, registry=registry))
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=BEARER) as client:
        asking = asyncio.create_task(client.get("/v1/accounts/acme"))
        await eventually(lambda: sources.waiting)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert answers(registry) == {}

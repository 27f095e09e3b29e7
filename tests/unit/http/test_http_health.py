"""Health and metrics on sources of the test's own, without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from credit_service.application.errors import LedgerUnavailable
from credit_service.http.app import create_health_app
from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Sources:
    """Status and ping."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self.degraded: dict[str, str] = {}
        self.away: Exception | None = None
        self.is_slow = False

    async def ping(self) -> None:
        if self.is_slow:
            await asyncio.sleep(60)
        if self.away:
            raise self.away


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def client(sources: Sources, registry: CollectorRegistry) -> AsyncIterator[httpx.AsyncClient]:
    app = create_health_app(sources, sources.ping, registry)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def test_accounts_are_not_told_here(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/accounts/acme")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_ready_when_neither_the_service_nor_the_database_misses_anything(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True})


async def test_not_ready_says_what_is_missing(client: httpx.AsyncClient, sources: Sources) -> None:
    sources.problems = {"partitions": "no partitions are assigned yet"}
    sources.away = LedgerUnavailable("ConnectionRefusedError")
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "problems": {
            "partitions": "no partitions are assigned yet",
            "database": "does not answer: ConnectionRefusedError",
        },
    }


async def test_what_waits_for_a_person_is_said_and_leaves_it_ready(client: httpx.AsyncClient, sources: Sources) -> None:
    sources.degraded = {"topics": "paused until `credits resume TOPIC`: email-bounced"}
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "degraded": sources.degraded})
    sources.problems = {"partitions": "no partitions are assigned yet"}
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "problems": sources.problems, "degraded": sources.degraded}


async def test_a_database_that_hangs_makes_it_not_ready_within_a_second_or_two(
    client: httpx.AsyncClient, sources: Sources
) -> None:
    sources.is_slow = True
    async with asyncio.timeout(patience(30)):
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (503, {"database": "no answer within a second"})


async def test_it_lives_whatever_it_misses(client: httpx.AsyncClient, sources: Sources) -> None:
    sources.problems, sources.away = {"start": "starting"}, RuntimeError()
    assert (await client.get("/livez")).status_code == 200


async def test_metrics_are_those_of_the_registry(client: httpx.AsyncClient, registry: CollectorRegistry) -> None:
    Counter("credits_things", "Things.", registry=registry).inc(3)
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "credits_things_total 3.0" in answer.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_whatever_is_no_get_is_a_405(path: str, client: httpx.AsyncClient) -> None:
    for method in ("HEAD", "POST", "OPTIONS"):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET"), method

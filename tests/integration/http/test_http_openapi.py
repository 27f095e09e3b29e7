"""The API on a real ledger, over a real socket, keeps to its OpenAPI document, whatever it is asked."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from credit_contracts import IncomingData, PlanChanged, ProspectGenerated, ProspectStageChanged
from credit_service.http.app import create_api
from credit_service.http.openapi import document
from credit_service.http.server import HttpServer
from credit_service.postgres.pool import open_pool
from credit_service.postgres.reads.queries import PostgresReads
from support.credits import decide_events
from support.patience import patience
from support.stack import fresh_database
from support.tokens import ACCESS, BEARER
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credit_local_stack import Addresses

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
TOLD: list[IncomingData] = [
    PlanChanged(account_id="acme", plan_id="pro", monthly_credits=2),
    *(ProspectGenerated(account_id="acme", prospect_id=f"p-{n}") for n in range(4)),
    ProspectStageChanged(account_id="acme", prospect_id="p-1", stage="wrong-email"),
    PlanChanged(account_id="100% ü/eu", plan_id="all", monthly_credits=None),
    ProspectGenerated(account_id="100% ü/eu", prospect_id="p-1"),
    ProspectGenerated(account_id="waits", prospect_id="p-1"),
]
pytestmark = pytest.mark.xdist_group("http_openapi")
ACCOUNTS = ["acme", "100% ü/eu", "waits"]
EVENTS = [event(data, NOON + timedelta(minutes=n), event_id=f"e-{n}") for n, data in enumerate(TOLD)]
CONFIG = schemathesis.Config.from_dict({"generation": {"deterministic": True, "database": "none"}})
BOUNDED = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
)


def narrowed(whole: dict[str, Any]) -> dict[str, Any]:
    """The document with nothing but what the ledger has for ids, or hardly a request would find anything."""
    known = {"account_id": ACCOUNTS, "source": sorted({e.source for e in EVENTS}), "id": [e.id for e in EVENTS]}
    for path in whole["paths"].values():
        for parameter in path["get"]["parameters"]:
            if parameter["name"] in known:
                parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
    return whole


ANYTHING = schemathesis.openapi.from_dict(document(), config=CONFIG)
KNOWN = schemathesis.openapi.from_dict(narrowed(document()), config=CONFIG)


class ApiInAThread:
    """The API in a thread and a loop of its own, since those who ask here wait for the answer."""

    def __init__(self, database_url: str) -> None:
        self.port: Future[int] = Future()
        self._database_url = database_url
        self._ending = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self.port.result(patience(30))}"

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(patience(30))
        self._loop.close()

    async def _serve(self) -> None:
        try:
            await decide_events(self._database_url, *EVENTS)
            async with (
                open_pool(self._database_url, 2) as pool,
                HttpServer(create_api(PostgresReads(pool), ACCESS), "127.0.0.1", 0) as server,
            ):
                self.port.set_result(server.port)
                await self._ending.wait()
        except BaseException as error:
            self.port.set_exception(error)
            raise


@pytest.fixture(scope="module")
def base_url(stack: Addresses, database_template: str) -> Iterator[str]:
    with fresh_database(stack.database_url, database_template) as url, ApiInAThread(url) as base_url:
        yield base_url


@ANYTHING.parametrize()
@BOUNDED
def test_whatever_is_asked_the_answer_is_as_documented(case: schemathesis.Case[Any], base_url: str) -> None:
    case.call_and_validate(base_url=base_url, headers=BEARER)


@KNOWN.parametrize()
@BOUNDED
def test_what_is_there_is_told_as_documented(case: schemathesis.Case[Any], base_url: str) -> None:
    answer = case.call_and_validate(base_url=base_url, headers=BEARER)
    if case.meta and case.meta.generation.mode.is_positive and not case.path.endswith("/decisions"):
        assert answer.status_code == 200


@KNOWN.parametrize()
@BOUNDED
def test_a_stranger_is_told_nothing(case: schemathesis.Case[Any], base_url: str) -> None:
    assert case.call_and_validate(base_url=base_url).status_code in (401, 405)

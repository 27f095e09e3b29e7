"""Liveness, readiness and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.http.routes import get

PING_SECONDS_MAX = 1.0

Ping = Callable[[], Awaitable[object]]
"""Checks that the database answers; raises `LedgerUnavailable`."""


class ReportsProblems(Protocol):
    """The problems that the service has found."""

    @property
    def problems(self) -> Mapping[str, str]:
        """The problem of each part that is not ready; empty when all are."""

    @property
    def degraded(self) -> Mapping[str, str]:
        """The problems that wait for a person, by part."""


def health_routes(status: ReportsProblems, ping: Ping, registry: CollectorRegistry) -> list[Route]:
    """`/livez`, `/readyz` and `/metrics`."""

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        problems = dict(status.problems)
        if problem := await _database_problem(ping):
            # A problem found at the start is more exact: a database without the schema does answer.
            problems.setdefault("database", problem)
        degraded = {"degraded": dict(status.degraded)} if status.degraded else {}
        if problems:
            return JSONResponse({"ready": False, "problems": problems, **degraded}, 503)
        return JSONResponse({"ready": True, **degraded})

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [get("/livez", livez), get("/readyz", readyz), get("/metrics", metrics)]


async def _database_problem(ping: Ping) -> str | None:
    try:
        async with asyncio.timeout(PING_SECONDS_MAX):
            await ping()
    except TimeoutError:
        return "no answer within a second"
    except AccessDenied as error:
        return f"denies access: {error}"
    except LedgerUnavailable as error:
        return f"does not answer: {error}"
    except Exception as error:  # after any error, the answer is "not ready", and not an error
        return f"does not answer: {type(error).__name__}"
    return None

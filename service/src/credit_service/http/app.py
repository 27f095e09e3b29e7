"""The two HTTP applications, each on its own port: the read API, and health with metrics. Both only answer GET."""

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from credit_service.application.errors import LedgerUnavailable
from credit_service.application.queries import Reads
from credit_service.asyncapi.document import Deployed
from credit_service.http.access import Access
from credit_service.http.accounts import account_routes
from credit_service.http.asyncapi import asyncapi_routes
from credit_service.http.health import Ping, ReportsProblems, health_routes
from credit_service.http.openapi import openapi_route
from credit_service.http.problems import database_away, defect, refused
from credit_service.http.request_limits import RequestLimits
from credit_service.http.request_metrics import AnswerMetrics


def create_api(
    reads: Reads, access: Access, deployed: Deployed | None = None, registry: CollectorRegistry | None = None
) -> ASGIApp:
    """The read API, which needs a token, and the OpenAPI and AsyncAPI documents, which do not.

    `registry` counts the answers. `http.server.HttpServer` runs the application.
    """
    operations = account_routes(reads, access)
    app = _app([*operations, openapi_route(), *asyncapi_routes(deployed or Deployed())])
    return AnswerMetrics(app, {route.endpoint: route.name for route in operations}, registry or CollectorRegistry())


def create_health_app(status: ReportsProblems, ping: Ping, registry: CollectorRegistry) -> ASGIApp:
    """Health and metrics, for probes and Prometheus, which send no token."""
    return _app(health_routes(status, ping, registry))


def _app(routes: list[Route]) -> ASGIApp:
    app = Starlette(
        routes=routes,
        middleware=[Middleware(PathAsSent)],
        exception_handlers={HTTPException: refused, LedgerUnavailable: database_away, Exception: defect},
    )
    app.router.redirect_slashes = False
    return RequestLimits(app)


class PathAsSent:
    """Matches paths before they are decoded: `%2F` is part of an id, `/` ends it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request to the application."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("ascii", errors="replace")
        await self._app(scope, receive, send)

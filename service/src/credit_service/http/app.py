"""The two HTTP applications, each for a port of its own: the read API, and health with metrics. Both are GET only."""

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
from credit_service.http.request_limits import Guard
from credit_service.http.request_metrics import Counted


def create_api(
    reads: Reads, access: Access, deployed: Deployed | None = None, registry: CollectorRegistry | None = None
) -> ASGIApp:
    """The read API for those with a token, and for all its document and that of the topics; run it with
    `http.server.HttpServer`. Its answers are counted in `registry`.
    """
    operations = account_routes(reads, access)
    app = _app([*operations, openapi_route(), *asyncapi_routes(deployed or Deployed())])
    return Counted(app, {route.endpoint: route.name for route in operations}, registry or CollectorRegistry())


def create_health_app(status: ReportsProblems, ping: Ping, registry: CollectorRegistry) -> ASGIApp:
    """Health and metrics: for probes and Prometheus, which bring no token."""
    return _app(health_routes(status, ping, registry))


def _app(routes: list[Route]) -> ASGIApp:
    app = Starlette(
        routes=routes,
        middleware=[Middleware(PathAsSent)],
        exception_handlers={HTTPException: refused, LedgerUnavailable: database_away, Exception: defect},
    )
    app.router.redirect_slashes = False
    return Guard(app)


class PathAsSent:
    """Has paths matched before they are decoded: `%2F` belongs to an id, `/` parts it from what follows."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("ascii", errors="replace")
        await self._app(scope, receive, send)

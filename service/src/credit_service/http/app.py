"""The HTTP application: GET only, and no logins, so it belongs on loopback."""

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from credit_service.application.faults import LedgerUnavailable
from credit_service.application.read import Reads
from credit_service.http.accounts import account_routes
from credit_service.http.health import Ping, ReportsProblems, health_routes
from credit_service.http.problems import database_away, defect, refused


def create_app(reads: Reads, status: ReportsProblems, ping: Ping, registry: CollectorRegistry) -> Starlette:
    """The application on its four sources; run it with `http.server.HttpServer`."""
    app = Starlette(
        routes=[*account_routes(reads), *health_routes(status, ping, registry)],
        middleware=[Middleware(PathAsSent)],
        exception_handlers={HTTPException: refused, LedgerUnavailable: database_away, Exception: defect},
    )
    app.router.redirect_slashes = False
    return app


class PathAsSent:
    """Has paths matched before they are decoded: `%2F` belongs to an id, `/` parts it from what follows."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("ascii", errors="replace")
        await self._app(scope, receive, send)

"""Errors as RFC 9457 problem details."""

from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from credit_service.application.errors import AccessDenied

log = structlog.get_logger(__name__)

# Python changed some of these in 3.13; the committed OpenAPI document has these.
TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class ProblemResponse(JSONResponse):
    """A problem with its status and one sentence of detail."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__({"title": TITLES[status], "status": status, "detail": detail}, status, headers)


async def refused(_: Request, error: Exception) -> Response:
    """Answers a request that a handler or the router refuses."""
    if not isinstance(error, HTTPException):
        raise error
    return ProblemResponse(error.status_code, error.detail, dict(error.headers or {}))


async def database_away(_: Request, error: Exception) -> Response:
    """Answers while the database is unavailable."""
    log.warning("read failed, database unavailable", cause=str(error))
    detail = "the database denies access" if isinstance(error, AccessDenied) else "the database does not answer"
    return ProblemResponse(503, detail, {"Retry-After": "1"})


async def defect(_: Request, __: Exception) -> Response:
    """Answers after an unexpected error; the log has the traceback."""
    return ProblemResponse(500, "the service failed to answer")

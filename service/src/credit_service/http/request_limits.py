"""The limits of every request, and the headers of every answer."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from credit_service.http.problems import ProblemResponse

# Every id at its longest, each character as four escaped bytes, is 6.6 KB.
TARGET_BYTES_MAX: Final = 8 * 1024
HEADERS_BYTES_MAX: Final = 8 * 1024
ANSWER_SECONDS_MAX: Final = 10.0

ANSWER_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class RequestLimits:
    """Refuses requests that are too large, ends answers that take too long, and sets headers against caching."""

    def __init__(self, app: ASGIApp, answer_seconds_max: float = ANSWER_SECONDS_MAX) -> None:
        self._app = app
        self._answer_seconds_max = answer_seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses the request, or passes it to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                # From here on, the connection's own limit ends a client that does not read.
                if not limit.expired():
                    limit.reschedule(None)
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        limit = asyncio.timeout(self._answer_seconds_max)
        try:
            async with limit:
                await (_refusal(scope) or self._app)(scope, receive, answer)
        except TimeoutError:
            if not limit.expired():
                raise
            late = ProblemResponse(503, "the answer took too long", {"Retry-After": "1"})
            await late(scope, receive, answer)


def _refusal(scope: Scope) -> ProblemResponse | None:
    headers = Headers(scope=scope)
    if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_BYTES_MAX:
        return ProblemResponse(414, f"path and query have more than {TARGET_BYTES_MAX} bytes")
    if sum(len(name) + len(value) for name, value in headers.raw) > HEADERS_BYTES_MAX:
        return ProblemResponse(431, f"the headers have more than {HEADERS_BYTES_MAX} bytes")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        # The connection is closed: nothing reads the body that follows.
        return ProblemResponse(413, "a request has no body here", {"Connection": "close"})
    return None

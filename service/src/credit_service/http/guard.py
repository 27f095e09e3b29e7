"""What every request has to keep to, and the headers that every answer has."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from credit_service.http.problems import ProblemResponse

# Every id at its longest, each character as four escaped bytes, is 6.6 KB.
TARGET_BYTES_MAX: Final = 8 * 1024
HEADERS_BYTES_MAX: Final = 8 * 1024
UNDER_WAY_MAX: Final = 100
ANSWER_SECONDS_MAX: Final = 10.0

ANSWER_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Refuses what is too large or too much, ends what takes too long, and lets nobody keep or embed an answer."""

    def __init__(self, app: ASGIApp, answer_seconds_max: float = ANSWER_SECONDS_MAX) -> None:
        self._app = app
        self._answer_seconds_max = answer_seconds_max
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request, or passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def answer(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if refusal := self._refusal(scope):
            await refusal(scope, receive, answer)
            return
        self._under_way += 1
        try:
            async with asyncio.timeout(self._answer_seconds_max):
                await self._app(scope, receive, answer)
        except TimeoutError:
            # What has begun is the connection's to end: its client does not read.
            if not has_begun:
                await _busy("the answer took too long")(scope, receive, answer)
        finally:
            self._under_way -= 1

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        headers = Headers(scope=scope)
        if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_BYTES_MAX:
            return ProblemResponse(414, f"path and query have more than {TARGET_BYTES_MAX} bytes")
        if sum(len(name) + len(value) for name, value in headers.raw) > HEADERS_BYTES_MAX:
            return ProblemResponse(431, f"the headers have more than {HEADERS_BYTES_MAX} bytes")
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            # Closed, because nobody reads what follows.
            return ProblemResponse(413, "a request has no body here", {"Connection": "close"})
        if self._under_way >= UNDER_WAY_MAX:
            return _busy("too many requests at the same time")
        return None


def _busy(detail: str) -> ProblemResponse:
    return ProblemResponse(503, detail, {"Retry-After": "1"})

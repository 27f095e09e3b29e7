"""The AsyncAPI document and its page. The page loads nothing from elsewhere, and sends nothing."""

import asyncio
import gzip
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_service.asyncapi.document import Deployed, asyncapi, rendered
from credit_service.http.long_answers import LongAnswers
from credit_service.http.routes import get

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
POLICIES: Final[Mapping[str, str]] = {"Content-Security-Policy": POLICY}
HELD_SECONDS: Final = 3600
PAGE: Final = "page.html"

_FILES: Final[Mapping[str, str]] = {
    PAGE: "text/html",
    "asyncapi.min.css": "text/css",
    "page.css": "text/css",
    "before.js": "text/javascript",
    "asyncapi.min.js": "text/javascript",
    "show.js": "text/javascript",
    "asyncapi.min.js.LICENSE.txt": "text/plain",
    "LICENSE": "text/plain",
}


def asyncapi_routes(deployed: Deployed) -> list[Route]:
    """The routes `/asyncapi` (the page), its files below, and `/asyncapi.json`; none needs a token."""
    document = rendered(asyncapi(deployed)).encode()
    answers = LongAnswers()
    packing = asyncio.Lock()

    async def page(_: Request) -> Response:
        return answers.answer(_file(PAGE), _media_type(PAGE), POLICIES)

    async def file(request: Request) -> Response:
        name = request.path_params["file"]
        if name not in _FILES:
            raise HTTPException(404, "the page has no such file")
        headers = {**POLICIES, "Cache-Control": f"max-age={HELD_SECONDS}", "Vary": "Accept-Encoding"}
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return answers.answer(_file(name), _media_type(name), headers)
        # Packed once, in a thread: the script takes a while.
        async with packing:
            packed = await asyncio.to_thread(_packed, name)
        return answers.answer(packed, _media_type(name), {**headers, "Content-Encoding": "gzip"})

    async def whole(_: Request) -> Response:
        return answers.answer(document, "application/json")

    return [get("/asyncapi", page), get("/asyncapi/{file}", file), get("/asyncapi.json", whole)]


@cache
def _file(name: str) -> bytes:
    return files("credit_service.http").joinpath("asyncapi_page", name).read_bytes()


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(_file(name), mtime=0)


def _media_type(name: str) -> str:
    return f"{_FILES[name]}; charset=utf-8"

"""The AsyncAPI document and its page. Whatever the page needs comes from here, and nothing on it can be sent."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_service.application.asyncapi import Deployed, asyncapi, rendered

PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
HELD_SECONDS: Final = 3600

_FOLDER: Final = "asyncapi_page"
_TYPES: Final[Mapping[str, str]] = {
    "asyncapi.min.js": "text/javascript; charset=utf-8",
    "asyncapi.min.js.LICENSE.txt": "text/plain; charset=utf-8",
    "asyncapi.min.css": "text/css; charset=utf-8",
    "before.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "show.js": "text/javascript; charset=utf-8",
    "LICENSE": "text/plain; charset=utf-8",
}


def asyncapi_routes(deployed: Deployed) -> list[Route]:
    """`/asyncapi` (the page), what it is made of below that, and `/asyncapi.json`. None needs a token."""
    document = rendered(asyncapi(deployed)).encode()

    async def page(_: Request) -> Response:
        return _answer(_file("page.html"), "text/html; charset=utf-8")

    async def whole(_: Request) -> Response:
        return _answer(document, "application/json")

    return [
        Route("/asyncapi", page),
        Route("/asyncapi.json", whole),
        *(Route(f"/asyncapi/{name}", _vendored(name)) for name in _TYPES),
    ]


def _vendored(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def vendored(_: Request) -> Response:
        return _answer(_file(name), _TYPES[name], {"Cache-Control": f"max-age={HELD_SECONDS}"})

    return vendored


def _file(name: str) -> bytes:
    return files("credit_service.http").joinpath(_FOLDER, name).read_bytes()


def _answer(content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, media_type=media_type, headers={**PAGE_HEADERS, **(headers or {})})

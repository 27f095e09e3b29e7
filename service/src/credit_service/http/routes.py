"""Makes routes that answer GET alone."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def get(path: str, endpoint: Callable[[Request], Awaitable[Response]], name: str | None = None) -> Route:
    """A route that answers GET and nothing else; Starlette would add HEAD."""
    route = Route(path, endpoint, name=name)
    route.methods = {"GET"}
    return route

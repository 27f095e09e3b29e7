"""The event loop of the service and of its commands."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

TLS_END_SECONDS_MAX = 1.0
"""A broker that has its own way of hanging up is not waited for: uvloop would, for half a minute, now and then."""


class Loop(uvloop.Loop):
    """uvloop, with an end to the end of a TLS connection."""

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """See asyncio."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_END_SECONDS_MAX)
        return await super().create_connection(*arguments, **options)


def run_in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end."""
    return uvloop.run(work, loop_factory=Loop)

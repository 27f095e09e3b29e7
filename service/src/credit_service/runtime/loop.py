"""The event loop of the service and of its commands."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TLS_END_SECONDS_MAX = 1.0
"""A broker that has its own way of hanging up is not waited for: asyncio would, for half a minute, now and then."""


NEXT_ADDRESS_SECONDS = 0.25
"""As RFC 8305 has it: so long one address of a name is waited for before the next is tried beside it."""


class Loop(asyncio.SelectorEventLoop):
    """asyncio's own, with an end to the end of a TLS connection, and without waiting for an address that is silent.

    asyncio would try the other addresses of a name once the first is refused. One that swallows what is sent takes all
    the time that whoever connects has, to a broker, to Postgres or to an endpoint of tokens.

    Not uvloop, which is no faster here: where the other side has hung up, its `write` raises what aiokafka does not
    expect. The task that keeps the list of brokers then ends unseen, and with it the membership in the group.
    """

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """See asyncio."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_END_SECONDS_MAX)
        options.setdefault("happy_eyeballs_delay", NEXT_ADDRESS_SECONDS)
        return await super().create_connection(*arguments, **options)


def run_in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)

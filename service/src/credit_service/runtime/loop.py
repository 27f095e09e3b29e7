"""The event loop of the service and of its commands."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TLS_END_SECONDS_MAX = 1.0
"""The wait for the end of a TLS connection: some brokers do not complete it, and asyncio would wait half a minute."""


NEXT_ADDRESS_SECONDS = 0.25
"""The wait for one address of a name before the next is tried as well, as in RFC 8305."""


class Loop(asyncio.SelectorEventLoop):
    """asyncio's own loop, with a bound for closing TLS connections, and with concurrent attempts to connect.

    asyncio would try the other addresses of a name only once the first is refused. An address that drops packets would
    take all the time for a connection, to a broker, to Postgres or to a token endpoint.

    Not uvloop, which is no faster here: after the other side has closed a connection, its `write` raises an error that
    aiokafka does not expect. The task that updates the brokers then ends unnoticed, and so does the membership.
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

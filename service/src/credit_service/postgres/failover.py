"""Detection of a fail-over by the servers that answer at the addresses of a group of pools."""

import time
from datetime import datetime
from typing import Protocol

import asyncpg

from credit_service.postgres.address import Address, variables_of

REPLACED_EVERY_SECONDS = 10.0


class GroupedPool(Protocol):
    """A pool of a `PoolGroup`."""

    address: Address

    async def end_sessions(self) -> None:
        """Ends the sessions that are open now."""


class PoolGroup:
    """Pools that replace their sessions together, and the server that answered last at each of their addresses.

    `moved` counts how often the server at the address of the first pool, which decides, has changed. The other
    addresses may lead to several servers at any time, such as one name for all read replicas. Where two deciding
    servers alternate, each new connection may meet the other one: sessions are replaced for that at most once in
    `REPLACED_EVERY_SECONDS`, and until then the other server is not used.
    """

    def __init__(self) -> None:
        self.pools: list[GroupedPool] = []
        self.moved = 0
        self._servers: dict[Address, datetime] = {}
        self._replaced_at = float("-inf")

    def notes_another_server(self, address: Address, started_at: datetime) -> bool:
        """Whether a server with another start time than before answers at the address: its sessions are to be replaced.

        Raises asyncpg's CannotConnectNowError for a server that may have just been left, which must not be used.
        """
        if self._servers.setdefault(address, started_at) == started_at:
            return False
        if self._decides_at(address):
            now = time.monotonic()
            if now < self._replaced_at + REPLACED_EVERY_SECONDS:
                raise asyncpg.CannotConnectNowError("another server than a moment ago")
            self.moved += 1
            self._replaced_at = now
            _log_another_server(address)
        self._servers[address] = started_at
        return True

    async def replace_sessions(self, address: Address | None = None) -> None:
        """Ends the open sessions of all pools; of an address that does not decide, those of its own pools alone."""
        for pool in self.pools:
            if address is None or self._decides_at(address) or pool.address is address:
                await pool.end_sessions()

    def _decides_at(self, address: Address) -> bool:
        return self.pools[0].address is address


def _log_another_server(address: Address) -> None:
    # Imported here, so that commands that log nothing do not load it.
    import structlog

    at = variables_of(address.url)
    place = f"{at.get('PGHOST', '')}:{at['PGPORT']}"
    log = structlog.get_logger(__name__)
    log.warning("another server answers, sessions are replaced", setting=address.variable, at=place)

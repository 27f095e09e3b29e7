"""Tells the relay's leader that something waits, wherever it runs."""

import asyncio
import contextlib

from credit_service.application.errors import LedgerUnavailable
from credit_service.application.ports import Outbox
from credit_service.kafka.publish.relay import Relay

BETWEEN_NOTICES_SECONDS = 0.02


class OutboxNotifier:
    """Rings the relay of this process if it leads; otherwise sends a notice between processes, not too often."""

    def __init__(self, relay: Relay, outbox: Outbox) -> None:
        self._relay = relay
        self._outbox = outbox
        self._is_due = asyncio.Event()

    def notify(self) -> None:
        """Says that something waits."""
        if self._relay.is_leading:
            self._relay.notify()
        else:
            self._is_due.set()

    async def run(self) -> None:
        """Sends the notices, until it is cancelled; one that is lost is made up for by the leader's own poll."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            with contextlib.suppress(LedgerUnavailable):
                await self._outbox.notify()
            await asyncio.sleep(BETWEEN_NOTICES_SECONDS)

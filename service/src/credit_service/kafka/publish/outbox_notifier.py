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
        self._pressed = asyncio.Event()

    def press(self) -> None:
        """Says that something waits."""
        if self._relay.is_leading:
            self._relay.ring()
        else:
            self._pressed.set()

    async def run(self) -> None:
        """Sends the notices, until it is cancelled; one that is lost is made up for by the leader's own poll."""
        while True:
            await self._pressed.wait()
            self._pressed.clear()
            with contextlib.suppress(LedgerUnavailable):
                await self._outbox.ring()
            await asyncio.sleep(BETWEEN_NOTICES_SECONDS)

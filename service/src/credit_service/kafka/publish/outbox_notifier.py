"""Notifies the leading relay, in this process or another, of new rows in the outbox."""

import asyncio
import contextlib

from credit_service.application.errors import LedgerUnavailable
from credit_service.application.ports import Outbox
from credit_service.kafka.publish.relay import Relay

BETWEEN_NOTICES_SECONDS = 0.02


class OutboxNotifier:
    """Notifies the relay of this process if it leads; otherwise sends a notice to other processes, not too often."""

    def __init__(self, relay: Relay, outbox: Outbox) -> None:
        self._relay = relay
        self._outbox = outbox
        self._is_due = asyncio.Event()

    def notify(self) -> None:
        """Notes that rows wait in the outbox."""
        if self._relay.is_leading:
            self._relay.notify()
        else:
            self._is_due.set()

    async def run(self) -> None:
        """Sends the notices, until it is cancelled; a lost notice only delays rows until the leader's next poll."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            with contextlib.suppress(LedgerUnavailable):
                await self._outbox.notify()
            await asyncio.sleep(BETWEEN_NOTICES_SECONDS)

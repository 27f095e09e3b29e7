"""What a broker that allows only what it is told to does to the service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.secured import SERVICE, SERVICE_PASSWORD
from support.secured_service import generated, says

if TYPE_CHECKING:
    from chaos.scene import Scene
    from support.secured import SecuredBroker


@dataclass
class LoginRevoked:
    """The service cannot log in any more, and its connections are gone."""

    broker: SecuredBroker

    @property
    def name(self) -> str:
        return "login revoked"

    async def inject(self, scene: Scene) -> None:
        self.broker.set_password(SERVICE, None)
        # Connections that are there outlive the login.
        await asyncio.to_thread(self.broker.stack.restart_kafka)
        for member in scene.members:
            await says(member, f"refuses the login of {SERVICE} by SCRAM-SHA-512", within_seconds=60)
        async with scene.deployment.upstream() as upstream:
            await upstream.send([generated(1)])

    async def heal(self, scene: Scene) -> None:  # noqa: ARG002 - others need it
        self.broker.set_password(SERVICE, SERVICE_PASSWORD)

"""Every right of the service taken away while it runs, and its login."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.access_faults import LoginRevoked
from chaos.harness import Harness
from chaos.plan import new_seed
from chaos.scene import Scene
from credit_service.kafka.connect.acls import required_acls
from support.secured import SERVICE, SERVICE_PASSWORD, SecuredBroker
from support.secured_service import (
    connection_of,
    each_is_told_and_taken_up_again,
    published,
    secured_deployment,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("secured-kafka"), pytest.mark.timeout(900)]


async def test_every_right_that_is_taken_away_is_told_and_taken_up_again(
    database_url: str, secured_broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> None:
    async with secured_deployment(database_url, secured_broker, topic_prefix, tmp_path) as deployment:
        needed = required_acls(connection_of(secured_broker, deployment, SERVICE, SERVICE_PASSWORD), "serve")
        await secured_broker.allow(SERVICE, needed)
        service = await (await deployment.start()).ready()
        await each_is_told_and_taken_up_again(deployment, secured_broker, service, needed)
        assert await service.terminate() == 0


async def test_a_login_that_is_revoked_while_the_service_runs_is_told_and_taken_up_again(
    database_url: str,
    secured_broker: SecuredBroker,
    topic_prefix: str,
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    async with secured_deployment(database_url, secured_broker, topic_prefix, tmp_path) as deployment:
        needed = required_acls(connection_of(secured_broker, deployment, SERVICE, SERVICE_PASSWORD), "serve")
        await secured_broker.allow(SERVICE, needed)
        service = await (await deployment.start()).ready()
        await each_is_told_and_taken_up_again(deployment, secured_broker, service, [])
        harness = Harness(Scene(deployment, members=[service]), new_seed(), tell)
        async with harness.under(LoginRevoked(secured_broker)):
            pass
        tell(harness.report.table())
        await service.ready()
        await published(service, 3)
        assert await service.terminate() == 0

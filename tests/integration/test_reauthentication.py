"""A broker whose sessions end: clients log in again on their connections, with the password of that moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from credit_contracts import PlanChanged
from credit_service.kafka.rights import rights
from support.secured import SERVICE, SERVICE_PASSWORD, SecuredBroker, make_files, secured_stack
from support.secured_service import ACCOUNT, connection_of, generated, published, secured_deployment
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.service import ServiceProcess

pytestmark = [pytest.mark.xdist_group("short-sessions"), pytest.mark.timeout(600)]

SESSION_SECONDS = 5
SESSIONS = 7


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    files = make_files(tmp_path_factory.mktemp("short-sessions"))
    with secured_stack(files, connections_max_reauth_ms=str(SESSION_SECONDS * 1000)) as stack:
        yield SecuredBroker(stack, files)


def connections(service: ServiceProcess, broker: SecuredBroker) -> set[int]:
    """The ports at which those of the service to the broker begin."""
    return {
        at.laddr.port
        for at in psutil.Process(service.pid).net_connections("tcp")
        if at.raddr and at.raddr.port == broker.stack.kafka_port and at.status == psutil.CONN_ESTABLISHED
    }


def complaints(service: ServiceProcess) -> list[str]:
    lines = [line for line in service.said().splitlines() if line.startswith("{")]
    return [line for line in lines if any(f'"level": "{level}"' in line for level in ("warning", "error", "critical"))]


async def test_under_load_no_session_ends_a_connection(
    database_url: str, broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> None:
    async with secured_deployment(database_url, broker, topic_prefix, tmp_path) as deployment:
        await broker.allow(SERVICE, rights(connection_of(broker, deployment, SERVICE, SERVICE_PASSWORD), "serve"))
        service = await (await deployment.start()).ready()
        async with deployment.upstream() as upstream:
            begun = datetime.now(UTC) - timedelta(hours=1)
            await upstream.send([event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10**6), begun)])
            await published(service, 1)
            lasting = connections(service, broker)
            loop = asyncio.get_running_loop()
            ends_at, number = loop.time() + SESSIONS * SESSION_SECONDS, 0
            while loop.time() < ends_at:
                number += 1
                await upstream.send([generated(number)])
                if number == 50:
                    # Without those of the looks at rights, which are short.
                    lasting &= connections(service, broker)
            assert len(lasting) >= 4, lasting
        await published(service, 1 + number)
        assert lasting <= connections(service, broker)
        assert complaints(service) == []
        assert len(service.logged("partitions opened")) == 1
        assert await service.terminate() == 0

"""A broker whose sessions end: clients log in again on their connections, with the password of that moment."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest
from aiokafka.conn import create_conn
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest

from credit_contracts import PlanChanged
from credit_service.kafka.connect.acls import required_acls
from support.secured import SERVICE, SERVICE_PASSWORD, SecuredBroker, make_files, secured_stack
from support.secured_service import ACCOUNT, connection_of, generated, published, secured_deployment
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.service import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("short-sessions"), pytest.mark.timeout(600)]

# A stand-in for a login that follows its file.
READS_ANEW = """
from pathlib import Path
from credit_service.kafka.connect.connection import KafkaConnection
as_at_the_start = KafkaConnection.login.fget
KafkaConnection.login = property(
    lambda self: as_at_the_start(self) | {{"sasl_plain_password": Path({0!r}).read_text()}}
)
"""

REFUSED_AGAIN = "could not log in to Kafka again, reconnecting"
SESSION_SECONDS = 5
SESSIONS = 7
ATTEMPTS = 3
WATCHED_EVERY_SECONDS = 0.05
STOOD_SECONDS_MAX = 0.2
"""A login takes three answers of the broker: a third of what is left for it, less what else it takes."""


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


class Stood:
    """How long the broker, or this machine, stood at most: what a connection of its own saw of it."""

    seconds = 0.0

    async def watch(self, broker: SecuredBroker) -> None:
        host, _, port = broker.for_anything.rpartition(":")
        connection = await create_conn(host, int(port), request_timeout_ms=100_000)
        loop = asyncio.get_running_loop()
        try:
            while True:
                asked_at = loop.time()
                await connection.send(ApiVersionRequest())
                await asyncio.sleep(WATCHED_EVERY_SECONDS)
                self.seconds = max(self.seconds, loop.time() - asked_at - WATCHED_EVERY_SECONDS)
        finally:
            await connection.close()


@asynccontextmanager
async def watched(broker: SecuredBroker) -> AsyncIterator[Stood]:
    stood = Stood()
    watching = asyncio.create_task(stood.watch(broker))
    try:
        yield stood
        assert not watching.done(), "nobody watched"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_under_load_no_session_ends_a_connection(
    database_url: str, broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> None:
    async with secured_deployment(database_url, broker, topic_prefix, tmp_path) as deployment:
        await broker.allow(
            SERVICE, required_acls(connection_of(broker, deployment, SERVICE, SERVICE_PASSWORD), "serve")
        )
        service = await (await deployment.start()).ready()
        async with deployment.upstream() as upstream:
            begun = datetime.now(UTC) - timedelta(hours=1)
            await upstream.send([event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10**6), begun)])
            await published(service, 1)
            loop, number, complained, opened = asyncio.get_running_loop(), 0, 0, 1
            for attempt in range(1, ATTEMPTS + 1):
                lasting, first = connections(service, broker), number
                async with watched(broker) as stood:
                    ends_at = loop.time() + SESSIONS * SESSION_SECONDS
                    while loop.time() < ends_at:
                        number += 1
                        await upstream.send([generated(number)])
                        if number == first + 50:
                            # Without those of the looks at rights, which are short.
                            lasting &= connections(service, broker)
                await published(service, 1 + number)
                ended, told = lasting - connections(service, broker), complaints(service)[complained:]
                opened_again = len(service.logged("partitions opened")) - opened
                # Of a session of 5 s, 0.75 s are left for the login. A machine that stands takes them away from it, and
                # the broker is right to end the connection: that proves nothing, and is tried again.
                if attempt < ATTEMPTS and stood.seconds > STOOD_SECONDS_MAX and (ended or told or opened_again):
                    await service.ready()
                    complained, opened = len(complaints(service)), len(service.logged("partitions opened"))
                    continue
                assert (ended, told, opened_again) == (set(), [], 0), f"the machine stood for {stood.seconds:.2f} s"
                assert len(lasting) >= 4, lasting
                break
        assert await service.terminate() == 0


@asynccontextmanager
async def member_that_never_answers(broker: SecuredBroker, group: str, session_seconds: int) -> AsyncIterator[Any]:
    """Joins once; what comes of it, and its connection to be closed. No heart beats in it."""
    host, _, port = broker.for_anything.rpartition(":")
    connection = await create_conn(host, int(port), request_timeout_ms=100_000)
    about = ConsumerProtocolMemberMetadata(0, [], b"").encode()
    member = ""

    async def join() -> str:
        nonlocal member
        for _ in range(2):
            # The first time it is only given a name.
            asked = JoinGroupRequest(
                group, session_seconds * 1000, 60_000, member, None, "consumer", [("range", about)]
            )  # type: ignore[arg-type, unused-ignore]
            answer = await connection.send(asked)
            member = answer.member_id
        assert answer.error_code == 0, answer
        return member

    try:
        yield join
    finally:
        await connection.send(LeaveGroupRequest(group, member))
        await connection.close()


async def test_a_session_that_ends_while_a_rebalance_waits_ends_no_connection(
    database_url: str, broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> None:
    silent_seconds = 3 * SESSION_SECONDS
    async with secured_deployment(database_url, broker, topic_prefix, tmp_path) as deployment:
        await broker.allow(
            SERVICE, required_acls(connection_of(broker, deployment, SERVICE, SERVICE_PASSWORD), "serve")
        )
        service = await (await deployment.start()).ready()
        async with deployment.upstream() as upstream:
            begun = datetime.now(UTC) - timedelta(hours=1)
            await upstream.send([event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10**6), begun)])
            await published(service, 1)
            async with (
                member_that_never_answers(broker, deployment.group, silent_seconds) as first,
                member_that_never_answers(broker, deployment.group, silent_seconds) as second,
            ):
                await first()
                lasting = connections(service, broker)
                loop = asyncio.get_running_loop()
                began_at = loop.time()
                # Our member's request to join again waits as long as this one, until the first is given up.
                await second()
                assert loop.time() - began_at > 2 * SESSION_SECONDS
            await upstream.send([generated(1)])
            await published(service, 2)
            # One of those was a look at rights, perhaps.
            assert len(lasting - connections(service, broker)) <= 1
        assert service.logged("the group was lost") == []
        assert service.logged(REFUSED_AGAIN) == []
        assert await service.terminate() == 0


async def test_a_password_that_is_changed_is_taken_up(
    database_url: str, broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> None:
    """The login is read anew each time, as one that is kept in a file that is replaced will be."""
    password = tmp_path / "password"
    password.write_text(SERVICE_PASSWORD)
    async with secured_deployment(database_url, broker, topic_prefix, tmp_path) as deployment:
        await broker.allow(
            SERVICE, required_acls(connection_of(broker, deployment, SERVICE, SERVICE_PASSWORD), "serve")
        )
        service = await (await deployment.start(faults=READS_ANEW.format(str(password)))).ready()
        async with deployment.upstream() as upstream:
            begun = datetime.now(UTC) - timedelta(hours=1)
            await upstream.send([event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10**6), begun)])
            await published(service, 1)
            try:
                await asyncio.to_thread(broker.set_password, SERVICE, "rotated-hunter4")
                password.write_text("rotated-hunter4")
                lasting = connections(service, broker)
                loop = asyncio.get_running_loop()
                ends_at, number = loop.time() + 3 * SESSION_SECONDS, 0
                while loop.time() < ends_at:
                    number += 1
                    await upstream.send([generated(number)])
                    await published(service, 1 + number)
                assert len(lasting - connections(service, broker)) <= 1
                # Connections that break are made anew by the new one.
                await asyncio.to_thread(broker.stack.restart_kafka)
                await upstream.send([generated(number + 1)])
                await published(service, number + 2)
                await service.ready()
                assert service.logged(REFUSED_AGAIN) == []
                # The file comes behind the broker, as one that is mounted does.
                await asyncio.to_thread(broker.set_password, SERVICE, "rotated-hunter5")
                refused = await eventually(lambda: service.logged(REFUSED_AGAIN), what="it is told")
                password.write_text("rotated-hunter5")
                await upstream.send([generated(number + 2)])
                await published(service, number + 3)
                await service.ready()
            finally:
                await asyncio.to_thread(broker.set_password, SERVICE, SERVICE_PASSWORD)
        assert all(f"refuses the login of {SERVICE} by SCRAM-SHA-512: see " in line["problem"] for line in refused)
        assert "hunter" not in service.said()
        assert len(service.logged("serving")) == 1
        assert await service.terminate() == 0

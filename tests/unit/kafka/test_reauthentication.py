"""A connection logs in again before its session ends, and clients find brokers that have moved."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.metadata import MetadataRequest
from structlog.testing import capture_logs

from credit_service.kafka.connect import client, reauthentication
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection, KafkaSecurity
from credit_service.kafka.connect.errors import BrokerUnavailable, RefusedByKafka
from credit_service.kafka.connect.reauthentication import Connection, connect
from support.patience import patience
from support.session_broker import API_VERSIONS, AUTHENTICATE, HANDSHAKE, METADATA, SessionBroker, session_broker
from support.wait import eventually

if TYPE_CHECKING:
    pass

# One loop: aiokafka does not wait for the end of connections that were refused.
pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSION_MS = 200
REQUEST_MS_MAX = 10_000


@dataclass(frozen=True)
class Deployment(KafkaConnection):
    """With a login that a test may change."""

    @property
    def login(self) -> dict[str, Any]:
        return {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": USERS.get(self.bootstrap_servers, "service"),
            "sasl_plain_password": SHOWN[self.bootstrap_servers],
        }


SHOWN: dict[str, str] = {}
USERS: dict[str, str] = {}
SECURITY = KafkaSecurity("SASL_PLAINTEXT")


@pytest.fixture(autouse=True)
def _in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reauthentication, "SECONDS_BETWEEN_MIN", 0.0)
    monkeypatch.setattr(client, "RESTART_SECONDS_MIN", 0.0)
    SHOWN.clear()
    USERS.clear()


def deployment_of(broker: SessionBroker, shows: str = "first") -> Deployment:
    server = f"127.0.0.1:{broker.port}"
    SHOWN[server] = shows
    return Deployment(server, "group", security=SECURITY)


async def connected(broker: SessionBroker, shows: str = "first") -> Connection:
    return await connect(deployment_of(broker, shows), "127.0.0.1", broker.port, REQUEST_MS_MAX)


def logins(broker: SessionBroker) -> int:
    return broker.asked.count(AUTHENTICATE)


async def test_a_session_is_made_anew_before_it_ends_and_again() -> None:
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        await eventually(lambda: logins(broker) >= 4, what="logged in again, and again")
        assert broker.connections == 1
        assert (await connection.send(MetadataRequest([]))).brokers
        await connection.close()


async def test_a_short_session_is_made_anew_before_it_ends_and_not_more_often_than_brokers_let_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pause_seconds = 0.6
    monkeypatch.setattr(reauthentication, "SECONDS_BETWEEN_MIN", pause_seconds)
    logged_in_at: list[float] = []
    as_ever = Connection._do_sasl_handshake

    async def noted(self: Connection) -> None:
        logged_in_at.append(asyncio.get_running_loop().time())
        await as_ever(self)

    monkeypatch.setattr(Connection, "_do_sasl_handshake", noted)
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        assert connection._due_at < connection._ends_at
        await eventually(lambda: len(logged_in_at) > 2, what="logged in again, twice")
        # The session may end before the next login: requests of then are sent after it.
        assert (await connection.send(MetadataRequest([]))).brokers
        assert logged_in_at[2] - logged_in_at[1] >= pause_seconds
        await connection.close()


async def test_without_an_end_of_sessions_nothing_is_scheduled() -> None:
    async with session_broker() as broker:
        connection = await connected(broker)
        assert connection._timer is None
        assert broker.asked == [API_VERSIONS, HANDSHAKE, AUTHENTICATE]
        await connection.close()


async def test_what_is_sent_meanwhile_goes_out_after_in_its_order() -> None:
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        broker.lifetime_ms = 0
        broker.holds[AUTHENTICATE] = asyncio.Event()
        await eventually(lambda: logins(broker) == 2, what="logs in again")
        answers = [asyncio.ensure_future(connection.send(each)) for each in (MetadataRequest([]), ApiVersionRequest())]
        forgotten = asyncio.ensure_future(connection.send(MetadataRequest([])))
        await asyncio.sleep(0)
        forgotten.cancel()
        assert broker.asked[-1] == AUTHENTICATE
        broker.holds[AUTHENTICATE].set()
        first, second = await asyncio.gather(*answers)
        assert broker.asked[-2:] == [METADATA, API_VERSIONS]
        assert first.brokers
        assert second.api_versions
        await connection.close()


async def test_what_was_sent_before_is_answered_first() -> None:
    """A login may wait long behind a request that waits for a rebalance."""
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        broker.lifetime_ms = 0
        broker.holds[METADATA] = asyncio.Event()
        waiting = asyncio.ensure_future(connection.send(MetadataRequest([])))
        await eventually(lambda: connection._queued is not None, what="it is time")
        held = asyncio.ensure_future(connection.send(ApiVersionRequest()))
        assert len(connection._requests) == 1
        broker.holds[METADATA].set()
        assert (await waiting).brokers
        assert (await held).api_versions
        assert broker.asked[-4:] == [METADATA, HANDSHAKE, AUTHENTICATE, API_VERSIONS]
        await connection.close()


async def test_after_a_loop_that_stood_the_login_goes_first() -> None:
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        broker.lifetime_ms = 0
        connection._due_at = 0.0  # the timer has not come yet
        assert (await connection.send(MetadataRequest([]))).brokers
        assert broker.asked[-3:] == [HANDSHAKE, AUTHENTICATE, METADATA]
        await connection.close()


async def test_the_password_of_the_moment_is_shown() -> None:
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        broker.takes = SHOWN[f"127.0.0.1:{broker.port}"] = "second"
        await eventually(lambda: logins(broker) >= 3, what="logged in again")
        assert broker.shown[:2] == ["first", "second"]
        assert broker.connections == 1
        await connection.close()


async def test_one_that_is_refused_closes_the_connection_and_says_why_without_the_secret() -> None:
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        broker.takes = "second"
        broker.holds[AUTHENTICATE] = asyncio.Event()
        await eventually(lambda: logins(broker) == 2, what="logs in again")
        held = asyncio.ensure_future(connection.send(MetadataRequest([])))
        await asyncio.sleep(0)
        with capture_logs() as logs:
            broker.holds[AUTHENTICATE].set()
            with pytest.raises(KafkaConnectionError):
                await held
            await eventually(lambda: logs, what="it is told")
        (line,) = logs
        assert line["problem"].startswith(f"Kafka at 127.0.0.1:{broker.port} refuses the login of service by ")
        assert "first" not in str(logs)
        assert not connection.connected()
        assert connection._again is None


async def test_another_user_connects_anew_and_is_no_fault() -> None:
    """Brokers refuse another user on the same connection."""
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        with capture_logs() as logs:
            USERS[f"127.0.0.1:{broker.port}"] = "another"
            broker.takes = "nobody becomes another"
            await eventually(lambda: logs, what="it is told")
        assert [(line["log_level"], line["event"]) for line in logs] == [
            ("info", "another user logs in to Kafka, connecting again")
        ]
        assert not connection.connected()


async def test_a_connection_that_ends_takes_its_login_with_it() -> None:
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        broker.holds[AUTHENTICATE] = asyncio.Event()
        await eventually(lambda: logins(broker) == 2, what="logs in again")
        login, held = connection._again, asyncio.ensure_future(connection.send(MetadataRequest([])))
        assert login is not None
        await asyncio.sleep(0)
        with capture_logs() as logs:
            await connection.close()
            with pytest.raises(KafkaConnectionError):
                await held
            await eventually(login.done, what="the login has ended")
        assert logs == []
        assert connection._timer is None


async def test_a_token_that_cannot_be_had_holds_nothing_up_and_is_asked_for_again() -> None:
    class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
        asked = 0

        async def token(self) -> str:
            Tokens.asked += 1
            raise OSError

    async with session_broker(60_000) as broker:
        connection = await connected(broker)
        connection._sasl_mechanism = "OAUTHBEARER"
        connection._deployment = SimpleNamespace(login={"sasl_oauth_token_provider": Tokens()})  # type: ignore[assignment]
        connection._begin()
        await eventually(lambda: Tokens.asked == 1 and connection._again is None, what="it was asked for")
        assert (await connection.send(MetadataRequest([]))).brokers
        assert connection._timer is not None
        await connection.close()


def _is_at_rest(of: weakref.ref[Connection]) -> bool:
    connection = of()
    return connection is not None and connection._again is None


@pytest.mark.parametrize("sessions", [0, 2])
@pytest.mark.filterwarnings("ignore:Unclosed AIOKafkaConnection")
async def test_one_that_nobody_has_any_more_is_gone_at_once(sessions: int) -> None:
    async with session_broker(SESSION_MS if sessions else 60_000) as broker:
        connection = await connected(broker)
        gone = weakref.ref(connection)
        await eventually(lambda: logins(broker) > sessions and _is_at_rest(gone), what="logged in")
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        gc.disable()
        try:
            del connection
            assert gone() is None
        finally:
            gc.enable()


async def test_a_client_shows_the_password_of_the_moment_when_the_one_before_is_refused() -> None:
    class Rotated(Deployment):
        reads = 0

        @property
        def login(self) -> dict[str, Any]:
            Rotated.reads += 1
            # As when the file is replaced while the broker looks at what was in it.
            return super().login | {"sasl_plain_password": "old" if Rotated.reads <= BEFORE else "second"}

    BEFORE = 3  # noqa: N806 - of the client, to compare with, and of its first connection
    async with session_broker() as broker:
        broker.takes = "second"
        deployment = deployment_of(broker)
        admin = create_client(AIOKafkaAdminClient, Rotated(deployment.bootstrap_servers, "group", security=SECURITY))
        await admin.start()
        assert broker.shown[:2] == ["old", "second"]
        await admin.close()


async def test_a_client_says_why_it_is_not_let_in() -> None:
    async with session_broker() as broker:
        admin = create_client(AIOKafkaAdminClient, deployment_of(broker, "wrong"))
        with pytest.raises(RefusedByKafka, match="refuses the login of service by "):
            await admin.start()
        await admin.close()


async def test_an_answer_that_the_login_cannot_take_ends_nobody_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asserts(_: object) -> None:
        raise AssertionError

    async with session_broker() as broker:
        admin = create_client(AIOKafkaAdminClient, deployment_of(broker))
        await admin.start()
        kafka = admin._client
        monkeypatch.setattr(Connection, "_do_sasl_handshake", asserts)
        assert not await asyncio.wait_for(kafka.force_metadata_update(), patience(10))
        assert not kafka._sync_task.done()
        with pytest.raises(BrokerUnavailable, match=f"^AssertionError at 127.0.0.1:{broker.port}$"):
            await connected(broker)
        await admin.close()


@pytest.mark.parametrize("host", ["kafka..example", "k" * 64 + ".example"])
async def test_a_host_that_no_name_can_be_is_a_broker_that_is_not_there(host: str) -> None:
    deployment = Deployment(f"{host}:9092", "group")
    SHOWN[deployment.bootstrap_servers] = "any"
    with pytest.raises(BrokerUnavailable, match=r"^UnicodeError at "):
        await connect(deployment, host, 9092, REQUEST_MS_MAX)


async def test_a_client_whose_brokers_are_gone_begins_anew_at_the_addresses_of_the_settings() -> None:
    async with session_broker() as before, session_broker() as door:
        door.address = ("127.0.0.1", before.port)
        deployment = deployment_of(door)
        admin = create_client(AIOKafkaAdminClient, deployment)
        await admin.start()
        kafka = admin._client
        kafka._sync_task.cancel()
        assert await kafka.ready(1)
        # No broker is at the old address any more, and the settings' address leads to another.
        kafka._conns[1, 0].close()
        await before.end()
        async with session_broker() as after:
            door.address = ("127.0.0.1", after.port)
            with capture_logs() as logs:
                assert await kafka._metadata_update(kafka.cluster, [])
            assert await kafka.ready(1)
            assert kafka._conns[1, 0].port == after.port
        (line,) = logs
        assert line["brokers"] == f"127.0.0.1:{after.port}"
        await admin.close()


async def test_a_broker_that_falls_silent_is_left_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reauthentication, "METADATA_SECONDS_MAX", 0.2, raising=False)
    async with session_broker() as silent, session_broker() as door, session_broker() as after:
        door.address = ("127.0.0.1", silent.port)
        admin = create_client(AIOKafkaAdminClient, deployment_of(door), request_timeout_ms=3_600_000)
        await admin.start()
        kafka = admin._client
        kafka._sync_task.cancel()
        assert await kafka.ready(1)
        connection = kafka._conns[1, 0]
        # Like a network that drops packets: the connection is not closed.
        silent.holds[METADATA] = asyncio.Event()
        door.address = ("127.0.0.1", after.port)
        async with asyncio.timeout(patience(10)):
            assert await kafka._metadata_update(kafka.cluster, [])
        assert not connection.connected()
        assert kafka._conns[1, 0].port == after.port
        await admin.close()


async def test_one_that_falls_silent_at_a_login_is_left_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reauthentication, "METADATA_SECONDS_MAX", 0.2, raising=False)
    async with session_broker(SESSION_MS) as broker:
        connection = await connected(broker)
        broker.holds[AUTHENTICATE] = asyncio.Event()
        await eventually(lambda: logins(broker) == 2, what="logs in again")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(patience(5)):
                await connection.send(MetadataRequest([]))
        assert not connection.connected()


async def test_it_begins_anew_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RESTART_SECONDS_MIN", 60.0)
    async with session_broker() as door:
        admin = create_client(AIOKafkaAdminClient, deployment_of(door))
        await admin.start()
        kafka, begun = admin._client, door.connections
        kafka._sync_task.cancel()
        door.takes = "second"
        for _ in range(5):
            assert not await kafka._metadata_update(kafka.cluster, [])
        # Each look is one connection to the broker that is known; one of them goes to the door as well.
        assert door.connections - begun == 6
        await admin.close()


async def test_an_address_that_says_nothing_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reauthentication, "STEP_SECONDS_MAX", 0.2)
    async with session_broker() as silent:
        silent.holds[API_VERSIONS] = asyncio.Event()
        admin = create_client(AIOKafkaAdminClient, deployment_of(silent), request_timeout_ms=3_600_000)
        with pytest.raises(BrokerUnavailable, match=f"no answer from 127.0.0.1:{silent.port} in time"):
            await admin.start()
        await admin.close()


async def test_what_takes_long_may_do_so_once_it_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reauthentication, "STEP_SECONDS_MAX", 0.2)
    async with session_broker() as broker:
        connection = await connected(broker)
        broker.holds[METADATA] = asyncio.Event()
        waiting = asyncio.ensure_future(connection.send(MetadataRequest([])))
        asyncio.get_running_loop().call_later(0.5, broker.holds[METADATA].set)
        assert (await waiting).brokers
        await connection.close()

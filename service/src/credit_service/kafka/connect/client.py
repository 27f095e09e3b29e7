"""aiokafka's clients, with the login of the moment, and going on where brokers have moved.

Consumer, producer and admin client each have an `AIOKafkaClient` inside, which makes their connections and knows the
brokers. Here it becomes a `Client`.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import structlog
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, StaleMetadata
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.util import create_task

from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, Refused, connection_error
from credit_service.kafka.connect.reauthentication import Connection, connect

log = structlog.get_logger(__name__)
# What may be said a hundred times a second: said once in a while, as the library's own lines.
seldom = logging.getLogger("aiokafka.client")

BEGIN_ANEW_SECONDS_MIN = 1.0
"""So seldom a client to which no broker answers begins anew from the addresses of the settings."""

_NOT_CONNECTED = (KafkaError, OSError, EOFError, TimeoutError)

T = TypeVar("T")


def create_client(kind: Callable[..., T], deployment: KafkaConnection, **options: Any) -> T:
    """One of aiokafka's consumers, producers and admin clients, whose connections are as `deployment` says."""
    return adopt_client(kind(**deployment.options, **options), deployment)


def adopt_client(user: T, deployment: KafkaConnection) -> T:
    """The same for one that is there, and has not been started."""
    holder: Any = user
    client = holder.client if hasattr(holder, "client") else holder._client
    if type(client) is not AIOKafkaClient:
        raise TypeError(f"{type(client).__name__} is not aiokafka's client")
    # All parts of its user have it already.
    client.__class__ = Client
    client._deployment = deployment
    return user


class Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka ships no types
    """Makes the connections with `connect`, and begins anew from the settings' addresses when no broker answers.

    These are looked up again then (KIP-899): brokers may all have moved.
    """

    _deployment: KafkaConnection
    _begun_anew_at = float("-inf")

    async def bootstrap(self) -> None:
        """As aiokafka's, but that it raises why no broker answers."""
        self.cluster.update_metadata(await self._metadata_from_settings([]))
        if self._sync_task is None:
            self._sync_task: Any = create_task(self._md_synchronizer())

    async def _get_conn(self, node_id: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Connection | None:
        """As aiokafka's: the connection to this broker, or None if there is none to be had."""
        place = (node_id, group)
        there: Connection | None = self._conns.get(place)
        if there is not None:
            if there.connected():
                return there
            del self._conns[place]
        try:
            broker = self.cluster.broker_metadata(node_id)
            if broker is None:
                raise StaleMetadata(f"Broker id {node_id} not in current metadata")
            async with self._get_conn_lock:
                there = self._conns.get(place)
                if there is None:
                    there = await self._connected(broker.host, broker.port, on_close=self._on_connection_closed)
                    self._conns[place] = there
                return there
        except (BrokerUnavailable, StaleMetadata) as error:
            # As text: the log has of an exception its type alone, and these words are ours.
            seldom.warning("not connected to broker %s: %s", node_id, str(error))
            self.force_metadata_update()
            return None

    async def _metadata_update(self, cluster_metadata: Any, topics: Collection[str] | None) -> bool:
        """As aiokafka's, and once more where the settings' addresses lead, if nobody has answered."""
        if await super()._metadata_update(cluster_metadata, topics):
            return True
        return await self._begin_anew(topics) and bool(await super()._metadata_update(cluster_metadata, topics))

    async def _begin_anew(self, topics: Collection[str] | None) -> bool:
        now = time.monotonic()
        if now - self._begun_anew_at < BEGIN_ANEW_SECONDS_MIN:
            return False
        self._begun_anew_at = now
        before = self._addresses()
        try:
            # With the topics: one that is missing for a moment would have its group share out partitions again.
            told = await self._metadata_from_settings(list(topics) if topics else None)
        except BrokerUnavailable:
            return False
        self.cluster.update_metadata(told)
        if (addresses := self._addresses()) != before:
            log.info(
                "no known broker answered, going on with those that the settings' addresses lead to",
                client=self._client_id,
                brokers=", ".join(sorted(addresses)),
            )
        for (node_id, _), connection in list(self._conns.items()):
            broker = self.cluster.broker_metadata(node_id)
            if broker is None or (broker.host, broker.port) != (connection.host, connection.port):
                connection.close(reason=CloseReason.SHUTDOWN)
        return True

    def _addresses(self) -> set[str]:
        return {f"{broker.host}:{broker.port}" for broker in self.cluster.brokers()}

    async def _metadata_from_settings(self, topics: list[str] | None) -> Any:
        """What the first broker that answers at the settings' addresses tells of the others, and of the topics.

        Raises `BrokerUnavailable`; a refusal says more than another's silence.
        """
        errors: list[BrokerUnavailable] = []
        for host, port, _ in self.hosts:
            try:
                connection = await self._connected(host, port)
                try:
                    told = await connection.send(MetadataRequest(topics))
                finally:
                    connection.close()
            except BrokerUnavailable as error:
                errors.append(error)
            except _NOT_CONNECTED as error:
                errors.append(connection_error(error, self._deployment, host, port))
            else:
                if told.brokers:
                    return told
                errors.append(BrokerUnavailable(f"{host}:{port} knows of no brokers yet"))
        raise next((error for error in errors if isinstance(error, Refused)), errors[0])

    async def _connected(self, host: str, port: int, **options: Any) -> Connection:
        """Raises `BrokerUnavailable`. A login that is refused is tried once more if it is another one by then."""
        options |= {
            "client_id": self._client_id,
            "request_timeout_ms": self._request_timeout_ms,
            "max_idle_ms": self._connections_max_idle_ms,
        }
        login = self._deployment.login
        try:
            try:
                return await connect(self._deployment, host, port, **options)
            except SaslAuthenticationFailed:
                if self._deployment.login == login:
                    raise
                return await connect(self._deployment, host, port, **options)
        except _NOT_CONNECTED as error:
            raise connection_error(error, self._deployment, host, port) from None

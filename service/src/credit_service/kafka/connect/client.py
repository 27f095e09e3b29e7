"""aiokafka's clients with the current login, which find brokers again that have moved.

Consumer, producer and admin client each contain an `AIOKafkaClient`, which connects and knows the brokers. It becomes
a `ReconnectingClient` here.
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
from credit_service.kafka.connect.errors import BrokerUnavailable, RefusedByKafka, connection_error
from credit_service.kafka.connect.reauthentication import Connection, connect

log = structlog.get_logger(__name__)
# For lines that would be logged a hundred times a second: `log_repeats` thins out the library's own.
seldom = logging.getLogger("aiokafka.client")

RESTART_SECONDS_MIN = 1.0
"""At most this often a client without an answering broker tries the addresses of the settings again."""

_NOT_CONNECTED = (KafkaError, OSError, EOFError, TimeoutError)

T = TypeVar("T")


def create_client(kind: Callable[..., T], deployment: KafkaConnection, **options: Any) -> T:
    """Creates one of aiokafka's consumers, producers and admin clients, which connects as `deployment` says."""
    return adopt_client(kind(**deployment.options, **options), deployment)


def adopt_client(user: T, deployment: KafkaConnection) -> T:
    """Has an existing one, which was not started yet, connect as `deployment` says."""
    holder: Any = user
    client = holder.client if hasattr(holder, "client") else holder._client
    if type(client) is not AIOKafkaClient:
        raise TypeError(f"{type(client).__name__} is not aiokafka's client")
    # All parts of its user refer to it already.
    client.__class__ = ReconnectingClient
    client._deployment = deployment
    return user


class ReconnectingClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka ships no types
    """Connects with `connect`, and tries the settings' addresses again when no known broker answers (KIP-899).

    Their names are resolved again then, since all brokers may have moved.
    """

    _deployment: KafkaConnection
    _restarted_at = float("-inf")

    async def bootstrap(self) -> None:
        """As aiokafka's, but raises the reason why no broker answers."""
        self.cluster.update_metadata(await self._metadata_from_settings([]))
        if self._sync_task is None:
            self._sync_task: Any = create_task(self._md_synchronizer())

    async def _get_conn(self, node_id: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Connection | None:
        """As aiokafka's: the connection to this broker, or None if it cannot be connected to."""
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
            # As text: of an exception the log shows the type alone, and this message is ours.
            seldom.warning("not connected to broker %s: %s", node_id, str(error))
            self.force_metadata_update()
            return None

    async def _metadata_update(self, cluster_metadata: Any, topics: Collection[str] | None) -> bool:
        """As aiokafka's, and once more from the settings' addresses if no broker has answered."""
        if await super()._metadata_update(cluster_metadata, topics):
            return True
        return await self._restart(topics) and bool(await super()._metadata_update(cluster_metadata, topics))

    async def _restart(self, topics: Collection[str] | None) -> bool:
        now = time.monotonic()
        if now - self._restarted_at < RESTART_SECONDS_MIN:
            return False
        self._restarted_at = now
        before = self._addresses()
        try:
            # With the topics: one that is missing for a moment would cause a rebalance of its group.
            metadata = await self._metadata_from_settings(list(topics) if topics else None)
        except BrokerUnavailable:
            return False
        self.cluster.update_metadata(metadata)
        if (addresses := self._addresses()) != before:
            log.info(
                "no known broker answered, using those at the settings' addresses",
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
        """The brokers and topics, of the first broker that answers at the settings' addresses.

        Raises `BrokerUnavailable`, rather a refusal than a silence.
        """
        errors: list[BrokerUnavailable] = []
        for host, port, _ in self.hosts:
            try:
                connection = await self._connected(host, port)
                try:
                    metadata = await connection.send(MetadataRequest(topics))
                finally:
                    connection.close()
            except BrokerUnavailable as error:
                errors.append(error)
            except _NOT_CONNECTED as error:
                errors.append(connection_error(error, self._deployment, host, port))
            else:
                if metadata.brokers:
                    return metadata
                errors.append(BrokerUnavailable(f"{host}:{port} knows of no brokers yet"))
        raise next((error for error in errors if isinstance(error, RefusedByKafka)), errors[0])

    async def _connected(self, host: str, port: int, **options: Any) -> Connection:
        """Raises `BrokerUnavailable`. A refused login is tried once more if it has changed meanwhile."""
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

"""The FastStream subscriber: one batch subscriber for all incoming topics, whose handler only feeds the buffers."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage
from faststream.security import BaseSecurity, SASLOAuthBearer, SASLPlaintext, SASLScram256, SASLScram512

from credit_service import bounds
from credit_service.kafka.connect.client import adopt_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.consumer import Faults, HandOverConsumer
from credit_service.kafka.fetch.portions import Portion

if TYPE_CHECKING:
    from faststream.kafka.subscriber.usecase import BatchSubscriber

Feed = Callable[[tuple[Portion, ...]], None]

POLL_WAIT_MS = 10
FETCH_WAIT_MS_MAX = 50
# As short as brokers allow by default (`group.min.session.timeout.ms`). Heartbeats are a task of the loop that decides:
# on a backlog of 65,000 messages, with nine busy processes to a core, the loop was blocked for 1.7 s at most, and
# heartbeats came 1.9 s apart. The longest step known, a dead letter with a million headers, takes 1 s of a core. A
# member that is late all the same joins again; the ledger, not the session, ensures that nothing is decided twice.
SESSION_TIMEOUT_MS = 6_000
# For brokers with another minimum.
LONGER_SESSION_TIMEOUT_MS = 10_000
# A member learns of a rebalance by its heartbeat alone, and all others wait for it.
HEARTBEAT_MS = 500
# Within this time added partitions, or a topic that was created again, are noticed.
METADATA_MS_MAX = 30_000
REBALANCE_TIMEOUT_MS = 60_000
# A group may need a rebalance's time to accept a member.
START_SECONDS_MAX = 90
STOP_SECONDS_MAX = 10
# Larger than any outage: a member that waits for its database must not lose its partitions to one that waits too.
POLL_INTERVAL_MS_MAX = 24 * 60 * 60 * 1000


class Subscriber:
    """The subscriber of the consumer group. `feed` gets the portions that arrive, and must not raise.

    `faults` receives the faults of a poll. It is started once: each join needs another. It acknowledges no message.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        feed: Feed,
        listener: ConsumerRebalanceListener,
        faults: Faults,
        *,
        has_longer_sessions: bool = False,
    ) -> None:
        self._faults = faults
        self._connection = connection
        self._broker = KafkaBroker(
            connection.servers,
            security=_security(connection),
            sasl_oauth_token_provider=connection.credentials.tokens,
            client_id=connection.client_id,
            apply_types=False,
            allow_auto_create_topics=False,
            consumer_only=True,
            metadata_max_age_ms=METADATA_MS_MAX,
            logger=None,
        )
        self._subscriber: BatchSubscriber = self._broker.subscriber(
            *connection.incoming_topics,
            batch=True,
            group_id=connection.group_id,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=(RangePartitionAssignor,),
            listener=listener,
            max_records=bounds.POLL_RECORDS_MAX,
            batch_timeout_ms=POLL_WAIT_MS,
            fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
            fetch_max_bytes=bounds.FETCH_BYTES_MAX,
            max_partition_fetch_bytes=bounds.FETCH_BYTES_MAX_PER_PARTITION,
            session_timeout_ms=LONGER_SESSION_TIMEOUT_MS if has_longer_sessions else SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=POLL_INTERVAL_MS_MAX,
            parser=_parse,
            decoder=_decode,
        )

        async def handle(portions: tuple[Portion, ...]) -> None:
            feed(portions)

        self._subscriber(handle)

    @property
    def consumer(self) -> HandOverConsumer:
        """The consumer of the running subscriber."""
        consumer = self._subscriber.consumer
        if not isinstance(consumer, HandOverConsumer):
            raise RuntimeError("the subscriber is not running")
        return consumer

    @property
    def is_running(self) -> bool:
        """Whether there is a consumer."""
        return isinstance(self._subscriber.consumer, HandOverConsumer)

    async def start(self) -> None:
        """Joins the group; raises aiokafka's errors, and is stopped then."""
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await self._broker.connect()
                config = self._broker.config.broker_config
                config.builder = self._with_our_consumer(config.builder)
                await self._broker.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leaves the group; does not wait for brokers that do not answer."""
        with contextlib.suppress(KafkaError, TimeoutError, OSError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await self._broker.stop()

    def _with_our_consumer(self, builder: Any) -> Any:
        """FastStream's builder of consumers, a partial of aiokafka's class, for `HandOverConsumer`."""

        def build(*topics: str, **options: Any) -> HandOverConsumer:
            # With the current login: FastStream has the one of when it was created.
            options = builder.keywords | options | self._connection.login
            return adopt_client(HandOverConsumer(*topics, faults=self._faults, **options), self._connection)

        return build


def _security(connection: KafkaConnection) -> BaseSecurity:
    """The login as FastStream takes it."""
    security, credentials = connection.security, connection.credentials
    tls: dict[str, Any] = {"ssl_context": credentials.ssl_context, "use_ssl": security.uses_tls}
    if not security.has_login:
        return BaseSecurity(**tls)
    if security.shows_token:
        return SASLOAuthBearer(**tls)
    kind = {"SCRAM-SHA-512": SASLScram512, "SCRAM-SHA-256": SASLScram256, "PLAIN": SASLPlaintext}[security.mechanism]
    return kind(credentials.username, credentials.password, **tls)


async def _parse(portions: tuple[Portion, ...]) -> KafkaMessage:
    """Wraps the portions unread: FastStream's own parser knows single records only."""
    return KafkaMessage(raw_message=portions, body=b"", headers={}, consumer=_NO_CONSUMER)


async def _decode(message: KafkaMessage) -> Any:
    return message.raw_message


class _NoConsumer:
    """A consumer that ignores acknowledgements: FastStream's `ack` would commit the position of all partitions."""

    async def commit(self) -> None:
        """Does nothing."""

    def seek(self, partition: Any, offset: int) -> None:
        """Does nothing."""

    def assignment(self) -> frozenset[Any]:
        """Nothing."""
        return frozenset()


_NO_CONSUMER = _NoConsumer()

"""The same two servers from Docker, by testcontainers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from credit_local_stack.addresses import Addresses
from credit_local_stack.errors import StackError
from credit_local_stack.postgres import DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

_POSTGRES_IMAGE = "postgres:18"
_KAFKA_ENVIRONMENT = {
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
}


@contextmanager
def containers() -> Iterator[Addresses]:
    """Run both servers in containers; Docker's reaper removes them also when we are killed."""
    try:
        from docker.errors import DockerException  # type: ignore[import-untyped]
        from testcontainers.community.kafka import KafkaContainer
        from testcontainers.community.postgres import PostgresContainer
        from testcontainers.core.docker_client import DockerClient
    except ImportError as error:
        raise StackError(f"CREDITS_STACK=testcontainers needs the testcontainers package: {error}") from None
    try:
        DockerClient().client.ping()
    except DockerException as error:
        reason = f"CREDITS_STACK=testcontainers needs a Docker daemon, and none answers: {error}"
        raise StackError(reason) from None
    with (
        PostgresContainer(_POSTGRES_IMAGE, dbname=DATABASE, driver=None) as postgres,
        KafkaContainer().with_kraft().with_envs(**_KAFKA_ENVIRONMENT) as kafka,
    ):
        yield Addresses(postgres.get_connection_url(), kafka.get_bootstrap_server())

"""The same two servers from Docker, by testcontainers."""

from __future__ import annotations

import gc
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from credit_local_stack.addresses import Addresses
from credit_local_stack.errors import NoDockerError, StackError
from credit_local_stack.postgres import DATABASE, INITDB_LOCALE

if TYPE_CHECKING:
    from collections.abc import Iterator

_POSTGRES_IMAGE = "postgres:18"
_POSTGRES_COMMAND = "postgres -c max_connections=300 -c max_wal_size=4GB -c timezone=UTC -c log_timezone=UTC"
# Confluent's 8.1 is Apache's 4.1; the container class knows Confluent's images only.
_KAFKA_IMAGE = "confluentinc/cp-kafka:8.1.1"
_KAFKA_ENVIRONMENT = {
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
    "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
}
_START_SECONDS_MAX = 120


@contextmanager
def containers() -> Iterator[Addresses]:
    """Run both servers in containers; Docker's reaper removes them also when we are killed."""
    try:
        from docker.errors import DockerException  # type: ignore[import-untyped]
        from testcontainers.community.kafka import KafkaContainer
        from testcontainers.community.postgres import PostgresContainer
    except ImportError as error:
        raise StackError(f"CREDITS_STACK=testcontainers needs the testcontainers package: {error}") from None
    refused = _why_docker_does_not_answer()
    if refused is not None:
        raise NoDockerError(f"CREDITS_STACK=testcontainers needs a Docker daemon, and none answers: {refused}")
    postgres = PostgresContainer(_POSTGRES_IMAGE, dbname=DATABASE, driver=None).with_command(_POSTGRES_COMMAND)
    postgres.with_env("POSTGRES_INITDB_ARGS", " ".join(INITDB_LOCALE))
    kafka = KafkaContainer(_KAFKA_IMAGE).with_kraft().with_envs(**_KAFKA_ENVIRONMENT)
    try:
        try:
            postgres.start()
            kafka.start(timeout=_START_SECONDS_MAX)
            addresses = Addresses(postgres.get_connection_url(), kafka.get_bootstrap_server())
        except (DockerException, TimeoutError, RuntimeError) as error:
            raise StackError(f"a container did not start: {error}") from error
        yield addresses
    finally:
        kafka.stop()
        postgres.stop()


def _why_docker_does_not_answer() -> str | None:
    with warnings.catch_warnings():
        # The docker package does not close the socket on which nobody answered.
        warnings.simplefilter("ignore", ResourceWarning)
        refused = _refusal()
        gc.collect()
    return refused


def _refusal() -> str | None:
    from docker.errors import DockerException
    from testcontainers.core.docker_client import DockerClient

    try:
        client = DockerClient().client
        try:
            client.ping()
        finally:
            client.close()
    except DockerException as error:
        return str(error)
    return None

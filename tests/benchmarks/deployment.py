"""A place of its own for each run: a database, topics, a consumer group."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from credit_contracts.topics import PARTITIONS, partition_for
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.topics import create_topics
from credit_service.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiokafka.producer.message_accumulator import BatchBuilder

    from benchmarks.mix import Message
    from credit_local_stack import Addresses

BALANCE_CHANGED = "balance-changed"
INSUFFICIENT_CREDITS = "insufficient-credits"
BATCH_BYTES = 256 * 1024
STATEMENT_SECONDS_MAX = 120


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a contender works."""

    database_url: str
    bootstrap_servers: str
    topic_prefix: str
    group_id: str

    def environment(self) -> dict[str, str]:
        """As the service reads it; the yardsticks read the same."""
        return {
            "CREDITS_DATABASE_URL": self.database_url,
            "CREDITS_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "CREDITS_TOPIC_PREFIX": self.topic_prefix,
            "CREDITS_KAFKA_GROUP_ID": self.group_id,
            "CREDITS_HTTP_PORT": "0",
            "CREDITS_HEALTH_PORT": "0",
            "CREDITS_LOG_FORMAT": "json",
        }


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages that wait in topics of their own, how many of them change a balance, and how many are declined."""

    topic_prefix: str
    messages: int
    changes: int
    declines: int = 0

    @property
    def published(self) -> dict[str, int]:
        """How many events they bring about, by outgoing topic."""
        return {BALANCE_CHANGED: self.changes, INSUFFICIENT_CREDITS: self.declines}


class Workshop:
    """Makes databases and topics, and takes them away in the end."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._name = f"bench_{secrets.token_hex(4)}"
        self._template = f"{self._name}_template"
        self._databases: list[str] = []
        self._topics: list[str] = []
        self._made = 0

    def place(self, topic_prefix: str) -> Deployment:
        """A deployment whose database is still to be made."""
        self._made += 1
        name = f"{self._name}_{self._made}"
        return Deployment(
            urlsplit(self._addresses.database_url)._replace(path=f"/{name}").geturl(),
            self._addresses.bootstrap_servers,
            topic_prefix,
            name,
        )

    async def start(self) -> None:
        """Makes the migrated template of all databases."""
        await self._execute(f"CREATE DATABASE {self._template}")
        self._databases.append(self._template)
        url = urlsplit(self._addresses.database_url)._replace(path=f"/{self._template}").geturl()
        await asyncio.to_thread(migrate, url)

    @asynccontextmanager
    async def database(self, deployment: Deployment, schema: str | None) -> AsyncIterator[None]:
        """The migrated database of a deployment, and in it the tables of a yardstick if it has its own."""
        name = urlsplit(deployment.database_url).path.removeprefix("/")
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        self._databases.append(name)
        if schema is not None:
            await clone_tables(deployment.database_url, schema)
        # Nobody pays for the pages that the one before has left dirty.
        await self._execute("CHECKPOINT")
        try:
            yield
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")
            self._databases.remove(name)

    async def topics(self) -> str:
        """Makes a set of topics as the contracts say; returns its prefix."""
        self._made += 1
        prefix = f"{self._name}-{self._made}-"
        connection = KafkaConnection(self._addresses.bootstrap_servers, self._name, prefix)
        made = await create_topics(connection, replication_factor=None)
        self._topics += [topic.name for topic in made]
        return prefix

    async def backlog(self, plans: Iterable[Message], events: Iterable[Message]) -> Backlog:
        """Produces messages to topics of their own, the plans first."""
        prefix = await self.topics()
        counted: Counter[str | None] = Counter()
        for part in (plans, events):
            counted += await _produce(self._addresses.bootstrap_servers, prefix, part)
        return Backlog(prefix, counted.total(), counted[BALANCE_CHANGED], counted[INSUFFICIENT_CREDITS])

    async def close(self) -> None:
        """Takes away what is left: servers that were given stay."""
        for name in self._databases:
            await self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin = AIOKafkaAdminClient(bootstrap_servers=self._addresses.bootstrap_servers.split(","))
        try:
            await admin.start()
            if self._topics:
                await admin.delete_topics(self._topics)
        finally:
            await admin.close()

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._addresses.database_url, command_timeout=STATEMENT_SECONDS_MAX)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


CLONED = ("accounts", "decisions", "plans", "grants", "entries", "prospects", "outbox")


async def clone_tables(database_url: str, schema: str) -> None:
    """The service's tables once more, for a yardstick: same columns, constraints, indexes and storage."""
    connection = await asyncpg.connect(database_url, command_timeout=STATEMENT_SECONDS_MAX)
    try:
        await connection.execute(f"CREATE SCHEMA {schema}")
        for table in CLONED:
            options = await connection.fetchval(
                "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = $1::regclass", f"credits.{table}"
            )
            storage = f"WITH ({options})" if options else ""
            await connection.execute(f"CREATE TABLE {schema}.{table} (LIKE credits.{table} INCLUDING ALL) {storage}")
    finally:
        await connection.close()


async def _produce(bootstrap_servers: str, prefix: str, messages: Iterable[Message]) -> Counter[str | None]:
    """Sends the messages to the partitions of their keys, in order; how many, by the topic that will tell of them."""
    counted: Counter[str | None] = Counter()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers.split(","), acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    open_batches: dict[tuple[str, int], BatchBuilder] = {}
    futures = []
    async with producer:
        for message in messages:
            place = (prefix + message.type, partition_for(message.key, PARTITIONS))
            part = {"key": message.key, "value": message.value, "headers": message.headers, "timestamp": None}
            batch = open_batches.get(place)
            if batch is None or batch.append(**part) is None:
                if batch is not None:
                    futures.append(await producer.send_batch(batch, place[0], partition=place[1]))
                open_batches[place] = batch = producer.create_batch()
                batch.append(**part)
            counted[message.published_in] += 1
        for (topic, partition), batch in open_batches.items():
            futures.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*futures)
    return counted

"""The doctor: checks a deployment, each check for a bounded time, and says what to do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from credit_contracts.topics import TopicContract
from credit_service.application.doctor import database_checks, kafka_checks, ledger_checks, reading_checks
from credit_service.application.doctor.check import Check, ok
from credit_service.application.doctor.facts import ClusterFacts, DatabaseFacts, Denied, KafkaFacts, Unreachable

if TYPE_CHECKING:
    from credit_service.application.ports import TopicPartition

T = TypeVar("T")

CHECK_SECONDS_MAX = 20.0
"""How long one check may take; a server that is away is one line, and the other checks go on."""
TRANSACTION_SECONDS = 10.0
"""How long a transaction may be open; services report it after the same time."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The checked deployment: topics by their names there, the relay's cursor, the group, and the limit of parking."""

    topics: Mapping[str, TopicContract]
    cursor_topic: str
    group_id: str
    parked_hours_max: int

    def contract_name(self, topic: str) -> str:
        """The name that the contracts, and commands, have for the topic."""
        return self.topics[topic].name if topic in self.topics else topic


class Doctor:
    """Checks one deployment; `here` is this machine's clock."""

    def __init__(
        self, deployment: Deployment, database: DatabaseFacts, kafka: KafkaFacts, here: Callable[[], datetime]
    ) -> None:
        self._deployment = deployment
        self._database = database
        self._kafka = kafka
        self._here = here

    async def checks(self) -> AsyncIterator[Check]:
        """The checks as they are made. A server that is away, or has no schema, is one check."""
        server = await _result_of("database", self._database.server)
        schema = server if isinstance(server, Check) else await _result_of("schema", self._schema_check)
        if isinstance(server, Check):
            yield server
        else:
            yield database_checks.version(server)
            yield database_checks.durability(server)
            yield schema
        has_schema = isinstance(schema, Check) and schema.state == "ok"
        if has_schema:
            yield await _result_of("clock", self._clock)
        cluster = await _result_of("kafka", self._kafka.cluster)
        if isinstance(cluster, Check):
            yield cluster
        else:
            yield ok("kafka", f"{cluster.brokers} broker{'' if cluster.brokers == 1 else 's'}")
            yield kafka_checks.topics(cluster, self._deployment.topics, self._deployment.cursor_topic)
            yield kafka_checks.topic_settings(cluster, self._deployment.topics)
            yield kafka_checks.replication(cluster)
            yield await _result_of("access", self._access)
            yield await _result_of("members", self._members)
            yield await _result_of("transactions", lambda: self._transactions(cluster))
        if has_schema and not isinstance(cluster, Check):
            for check in await self._reading(cluster):
                yield check
        if has_schema:
            for name, look in self._waiting().items():
                yield await _result_of(name, look)

    async def _schema_check(self) -> Check:
        problem = await self._database.schema_problem()
        if problem is None:
            return ok("schema", "all migrations are there")
        return Check("schema", "wrong", problem, "run `credits migrate`; the ledger was not checked")

    async def _clock(self) -> Check:
        before = self._here()
        ledger = await self._database.now()
        after = self._here()
        half = (after - before) / 2
        return database_checks.clock(before + half, ledger, half.total_seconds())

    async def _access(self) -> Check:
        return kafka_checks.access(await self._kafka.missed_by_service())

    async def _members(self) -> Check:
        return reading_checks.members(await self._kafka.members(), self._deployment.group_id)

    def _incoming(self, cluster: ClusterFacts) -> "list[TopicPartition]":
        return [
            (name, number)
            for name, contract in self._deployment.topics.items()
            if contract.direction == "in" and name in cluster.topics
            for number in range(cluster.topics[name].partitions)
        ]

    async def _transactions(self, cluster: ClusterFacts) -> Check:
        """Reads open transactions twice, after a pause: those of healthy producers have ended by then."""
        before = await self._kafka.bounds(self._incoming(cluster))
        before = {partition: bounds for partition, bounds in before.items() if bounds.written > bounds.end}
        if not before:
            return reading_checks.transactions({}, TRANSACTION_SECONDS)
        await asyncio.sleep(TRANSACTION_SECONDS)
        after = await self._kafka.bounds(list(before))
        pinned = {p: b for p, b in after.items() if b.written > b.end == before[p].end}
        return reading_checks.transactions(pinned, TRANSACTION_SECONDS)

    async def _reading(self, cluster: ClusterFacts) -> list[Check]:
        """The checks of the stored offsets against the logs; one check if either cannot be read."""
        partitions = self._incoming(cluster)
        deployment = self._deployment

        async def look() -> list[Check]:
            # The logs last: the stored offsets were read from them before.
            paused = [topic for topic, _ in await self._database.paused()]
            stored = await self._database.stored(partitions)
            committed = await self._kafka.committed()
            bounds = await self._kafka.bounds(partitions)
            now = await self._kafka.topic_ids()
            known = await self._database.topic_ids(partitions)
            gone = {partition for partition, known_id in known.items() if now.get(partition[0], known_id) != known_id}
            waits = {
                at: offset
                for at, offset in stored.items()
                if at in bounds and bounds[at].first <= offset < bounds[at].end
                if at[0] not in paused and at not in gone
            }
            unread = await self._kafka.unreadable(waits) if waits else {}
            return [
                reading_checks.lag(stored, bounds, paused),
                reading_checks.offsets(stored, bounds, committed, gone),
                reading_checks.held({(deployment.contract_name(t), n): at for (t, n), at in unread.items()}),
            ]

        found = await _result_of("offsets", look)
        return [found] if isinstance(found, Check) else found

    def _waiting(self) -> dict[str, Callable[[], Awaitable[Check]]]:
        database, deployment = self._database, self._deployment

        async def paused() -> Check:
            return reading_checks.paused([(deployment.contract_name(t), why) for t, why in await database.paused()])

        async def outbox() -> Check:
            return ledger_checks.outbox(await database.outbox())

        async def set_aside() -> Check:
            return ledger_checks.set_aside(await database.set_aside())

        async def claim() -> Check:
            return ledger_checks.claim(await database.claim_seconds())

        async def parked() -> Check:
            return ledger_checks.parked(await database.parked(), deployment.parked_hours_max)

        async def openings() -> Check:
            return ledger_checks.openings(await database.openings())

        async def timers() -> Check:
            return ledger_checks.timers(await database.timers())

        async def accounts() -> Check:
            return ledger_checks.accounts(await database.filling(), await database.last_account_no())

        async def dead_letters() -> Check:
            return ledger_checks.dead_letters(await database.letters())

        async def refund_requests() -> Check:
            return ledger_checks.refund_requests(await database.refund_requests())

        async def gaps() -> Check:
            return reading_checks.gaps(await database.gaps())

        async def operations() -> Check:
            return ledger_checks.operations(await database.open_operations())

        return {
            "paused": paused,
            "gaps": gaps,
            "outbox": outbox,
            "set-aside": set_aside,
            "claim": claim,
            "parked": parked,
            "openings": openings,
            "timers": timers,
            "accounts": accounts,
            "dead-letters": dead_letters,
            "refund-requests": refund_requests,
            "operations": operations,
        }


WHERE = {
    "database": "see that Postgres runs, and that CREDITS_DATABASE_URL names it; the ledger was not checked",
    "kafka": "see that Kafka runs, and that CREDITS_KAFKA_BOOTSTRAP_SERVERS names it; no topic was checked",
}


async def _result_of(name: str, look: Callable[[], Awaitable[T]]) -> T | Check:
    """The result of a look, or a check with the reason why there is none."""
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            return await look()
    except Denied as error:
        return Check(name, "wrong", f"access is denied: {error}", error.what_to_do)
    except Unreachable as error:
        message = f"no answer: {error}"
    except TimeoutError:
        message = f"no answer within {CHECK_SECONDS_MAX:.0f} s"
    return Check(name, "wrong", message, WHERE.get(name, "run it again"))

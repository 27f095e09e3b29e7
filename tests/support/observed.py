"""The observations of the oracle: rows by plain SQL, committed records from Kafka. No code of the service's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from support.lying import CannotBeRead, committed_in
from support.patience import patience

INCOMING = (
    "prospect-generated",
    "prospect-exported",
    "email-bounced",
    "plan-changed",
    "credits-purchased",
    "prospect-imported",
    "prospect-transferred",
    "prospect-stage-changed",
    "prospect-deleted",
)
CHANGES, DECLINES, DEAD_LETTERS = "balance-changed", "insufficient-credits", "credit-service-dead-letters"
OUTGOING = (CHANGES, DECLINES, DEAD_LETTERS)

KNOWN_FIELDS = {
    "prospect-generated": ("account_id", "prospect_id", "campaign_id"),
    "prospect-exported": ("account_id", "prospect_id"),
    "email-bounced": ("account_id", "prospect_id", "bounce_type"),
    "plan-changed": (
        "account_id plan_id monthly_credits seats email_accounts effective_at billing_anchor_at time_zone".split()
    ),
    "credits-purchased": ("account_id", "purchase_id", "credits", "expires_at"),
    "prospect-imported": ("account_id", "prospect_id"),
    "prospect-transferred": ("account_id", "prospect_id", "from_campaign_id", "to_campaign_id"),
    "prospect-stage-changed": ("account_id", "prospect_id", "stage"),
    "prospect-deleted": ("account_id", "prospect_id"),
}

Place = tuple[str, int, int]
Row = dict[str, Any]

# So far behind, it is not looked whether there is any message.
_PASSED_OVER_MAX = 500
_READ_SECONDS_MAX, _READ_IN_A_SECOND = 30, 1_000

# The last instant there is lies in the database as infinity, which the driver reads without a zone.
_EXPIRES_AT = "CASE expires_at WHEN 'infinity' THEN '9999-12-31T23:59:59.999999Z' ELSE expires_at END AS expires_at"

_TABLES = {
    "accounts": "SELECT account_id, balance, unlimited, sequence, position, parked FROM credits.accounts",
    "decisions": """SELECT account_id, position, source, id, type::text, outcome::text, occurred_at, decided_at,
        partition, "offset", prospect_id, declined_in_period, period_ends_at, note FROM credits.decisions_by_account
        ORDER BY account_id, position""",
    "entries": """SELECT account_id, sequence, line, grant_id, amount, previous_balance, balance, reason::text,
        position, refunds_sequence, period_ends_at, occurred_at, recorded_at FROM credits.entries_by_account
        ORDER BY account_id, sequence, line""",
    "grants": f"""SELECT account_id, grant_id, origin::text, amount, remaining, effective_at, {_EXPIRES_AT}, open,
        g.position FROM credits.grants AS g JOIN credits.accounts USING (account_no) ORDER BY account_id, grant_id""",
    "plans": """SELECT account_id, p.position, p.type::text, source, credits.unpacked(id) AS id, plan_id,
        monthly_credits, seats, email_accounts, effective_at, occurred_at, pending
        FROM credits.plans AS p JOIN credits.accounts USING (account_no) ORDER BY account_id, p.position""",
    "prospects": """SELECT account_id, prospect_id, origin::text, told, charge_sequence, charge_grant_id,
        refund_sequence, charge_at, stay, charges::text, closed_until FROM credits.prospects_by_account
        ORDER BY account_id, prospect_id""",
    "purchases": """SELECT account_id, purchase_id, p.position
        FROM credits.purchases AS p JOIN credits.accounts USING (account_no) ORDER BY account_id, purchase_id""",
    "requests": """SELECT account_id, charge_sequence, credits.unpacked(prospect_id) AS prospect_id,
        status::text, r.position, decided_position, operator, reason
        FROM credits.refund_requests AS r JOIN credits.accounts USING (account_no)
        ORDER BY account_id, charge_sequence""",
    "adjustments": f"""SELECT account_id, j.position, amount, {_EXPIRES_AT}, operator, reason
        FROM credits.adjustments AS j JOIN credits.accounts USING (account_no) ORDER BY account_id, j.position""",
    "parked": """SELECT account_id, source, id, type::text, partition, "offset"
        FROM credits.parked_events JOIN credits.accounts USING (account_no)""",
    "dead_letters": """SELECT topic, partition, "offset", reason, detail, key, value, headers::text, status::text,
        content_sha256 IS NOT NULL AS is_left_out, value_bytes, encode(value_sha256, 'hex') AS value_sha256
        FROM credits.dead_letters""",
    "outbox": "SELECT outbox_id, topic, event_id FROM credits.outbox",
    "claims": "SELECT claim_id FROM credits.outbox_claim",
    "offsets": "SELECT topic, partition, next_offset FROM credits.partition_offsets",
    "gaps": "SELECT topic, partition, expected_offset, resumed_offset, log_end_offset FROM credits.offset_gaps",
}
_OF_PROGRESS = {
    "offsets": _TABLES["offsets"],
    # Whoever waits asks many times a second, and only whether there is anything.
    "outbox": _TABLES["outbox"] + " LIMIT 100",
    "claims": _TABLES["claims"],
}


@dataclass
class Message:
    """A record as it lies in Kafka."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def header(self, name: str) -> str | None:
        value = dict(self.headers).get(name)
        return None if value is None else value.decode()

    def data(self) -> Any:
        return json.loads(self.value or b"null")


@dataclass(frozen=True)
class Event:
    """An incoming message as far as it matters who sent what."""

    account_id: str
    source: str
    id: str
    type: str
    content: str
    at: datetime
    data: Row = field(compare=False)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.account_id, self.source, self.id


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What `read_event` raises."""


def read_event(message: Message) -> Event:
    """Reads binary and structured mode; raises one of `UNREADABLE` if it is neither."""
    if (message.header("content-type") or "").startswith("application/cloudevents+json"):
        envelope = message.data()
        data = envelope["data"]
        source, event_id, event_type, at = (envelope[name] for name in ("source", "id", "type", "time"))
    else:
        data = message.data()
        given = dict(message.headers)
        source, event_id, event_type, at = (given[f"ce_{n}"].decode() for n in ("source", "id", "type", "time"))  # type: ignore[union-attr]
    content = {name: data.get(name) for name in KNOWN_FIELDS[event_type]}
    if event_type == "email-bounced":
        content["bounce_type"] = content["bounce_type"] or "hard"
    occurred_at = datetime.fromisoformat(at.upper())
    return Event(
        data["account_id"], source, event_id, event_type, json.dumps(content, sort_keys=True), occurred_at, content
    )


@dataclass
class Observed:
    """The ledger at one moment, and the topics a little after it."""

    prefix: str
    accounts: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    entries: list[Row] = field(default_factory=list)
    grants: list[Row] = field(default_factory=list)
    plans: list[Row] = field(default_factory=list)
    prospects: list[Row] = field(default_factory=list)
    purchases: list[Row] = field(default_factory=list)
    requests: list[Row] = field(default_factory=list)
    adjustments: list[Row] = field(default_factory=list)
    parked: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    outbox: list[Row] = field(default_factory=list)
    claims: list[Row] = field(default_factory=list)
    offsets: list[Row] = field(default_factory=list)
    gaps: list[Row] = field(default_factory=list)
    begins: dict[tuple[str, int], int] = field(default_factory=dict)
    incoming: list[Message] = field(default_factory=list)
    outgoing: dict[str, list[Message]] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    open_ends: list[tuple[str, int]] = field(default_factory=list)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)

    def stored(self) -> dict[tuple[str, int], int]:
        """The offsets that the ledger goes by."""
        return {(row["topic"], row["partition"]): row["next_offset"] for row in self.offsets}


async def observe_ledger(database_url: str, prefix: str) -> Observed:
    """Reads all tables in one snapshot."""
    connection = await asyncpg.connect(database_url, timeout=patience(10))
    try:
        return Observed(prefix, **await _rows(connection, _TABLES))
    finally:
        await connection.close()


async def _rows(connection: Any, queries: Mapping[str, str]) -> dict[str, Any]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return {name: [dict(row) for row in await connection.fetch(query)] for name, query in queries.items()}


class Progress:
    """Looks at how far a deployment has come, as often as it is asked; its connections stay open until `close`.

    What fails is raised, and the next look connects anew.
    """

    def __init__(self, database_url: str, kafka: str, group: str, prefix: str) -> None:
        self._database_url = database_url
        self._kafka = kafka
        self._group = group
        self._prefix = prefix
        self._open = AsyncExitStack()
        self._connection: Any = None
        self._admin: Any = None
        self._committed: Any = None
        self._written: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes what is open; the next look opens it again."""
        self._connection = self._admin = None
        opened, self._open = self._open, AsyncExitStack()
        await opened.aclose()

    async def look(self) -> Observed:
        """What the ledger has stored and still has to publish, and what lies in Kafka; no rows of accounts."""
        try:
            if self._connection is None:
                self._connection = await asyncpg.connect(self._database_url, timeout=patience(10))
                self._open.callback(self._connection.terminate)
            rows = await _rows(self._connection, _OF_PROGRESS)
            observed = Observed(self._prefix, **rows)
            await self.look_at_kafka(observed)
        except BaseException:
            await self.close()
            raise
        return observed

    async def look_at_kafka(self, into: Observed) -> None:
        """Reads the ends of the logs, and what the group has committed."""
        try:
            if self._admin is None:
                await self._connect_to_kafka()
            ends = await self._committed.end_offsets(self._committed.assignment())
            written = await self._written.end_offsets(self._written.assignment())
            committed = await self._admin.list_consumer_group_offsets(self._group)
        except BaseException:
            await self.close()
            raise
        incoming = {self._prefix + name for name in INCOMING}
        into.ends = {(tp.topic, tp.partition): end for tp, end in ends.items() if tp.topic in incoming}
        await self._pass_over_what_was_aborted(into)
        # A commit is acknowledged once the coordinator has noted it; each partition hears of it a moment later.
        into.open_ends = [(tp.topic, tp.partition) for tp, end in written.items() if ends[tp] < end]
        into.committed = {(tp.topic, tp.partition): at.offset for tp, at in committed.items() if at.offset >= 0}

    async def _pass_over_what_was_aborted(self, into: Observed) -> None:
        """Where no message lies behind what is stored, that is the end: marks and aborted messages are none."""
        stored = {TopicPartition(*place): at for place, at in into.stored().items()}
        ends = {at: into.ends.get((at.topic, at.partition), 0) for at in stored}
        near = {at: begin for at, begin in stored.items() if 0 < ends[at] - begin <= _PASSED_OVER_MAX}
        for at, begin in near.items():
            with suppress(CannotBeRead):  # something lies there
                if not (await committed_in(self._kafka, {at: begin}, ends))[at]:
                    into.ends[at.topic, at.partition] = begin

    async def _connect_to_kafka(self) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=self._kafka)
        self._open.push_async_callback(client.close)
        await client.start()
        for isolation_level in ("read_committed", "read_uncommitted"):
            names = (*INCOMING, *OUTGOING) if isolation_level == "read_committed" else OUTGOING
            described = await client.describe_topics([self._prefix + name for name in names])
            partitions = [TopicPartition(t["topic"], p["partition"]) for t in described for p in t["partitions"]]
            assert {partition.topic for partition in partitions} == {self._prefix + name for name in names}
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka, isolation_level=isolation_level, enable_auto_commit=False
            )
            self._open.push_async_callback(consumer.stop)
            await consumer.start()
            consumer.assign(partitions)
            # Only their ends are of interest.
            consumer.pause(*partitions)
            self._committed, self._written = self._written, consumer
        self._admin = client


async def observe_topics(kafka: str, into: Observed) -> None:
    """Reads everything that the topics of the deployment hold."""
    messages, into.begins = await _read(kafka, into.prefix, (*INCOMING, *OUTGOING))
    for name, read in messages.items():
        if name in INCOMING:
            into.incoming += read
        else:
            into.outgoing[name] = read


async def read_topics(kafka: str, prefix: str, names: tuple[str, ...]) -> dict[str, list[Message]]:
    """What whoever reads committed records sees of each topic, from its beginning to its end."""
    return (await _read(kafka, prefix, names))[0]


async def _read(
    kafka: str, prefix: str, names: tuple[str, ...]
) -> tuple[dict[str, list[Message]], dict[tuple[str, int], int]]:
    """The messages of each topic, and where the log of each partition begins."""
    async with _consumer(kafka, prefix, names) as consumer:
        partitions = consumer.assignment()
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    messages: dict[str, list[Message]] = {name: [] for name in names}
    async with asyncio.timeout(patience(_READ_SECONDS_MAX + sum(ends.values()) / _READ_IN_A_SECOND)):
        for at, records in sorted((await committed_in(kafka, begins, ends)).items()):
            messages[at.topic.removeprefix(prefix)] += [
                Message((at.topic, at.partition, r.offset), r.key, r.value, r.headers) for r in records
            ]
    return messages, {(at.topic, at.partition): begin for at, begin in begins.items()}


@asynccontextmanager
async def _consumer(kafka: str, prefix: str, names: tuple[str, ...]) -> AsyncIterator[Any]:
    """Without a group: all partitions are its own. Only their bounds are of interest."""
    consumer = AIOKafkaConsumer(
        *(prefix + name for name in names),
        bootstrap_servers=kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        assert all(consumer.partitions_for_topic(prefix + name) for name in names), "a topic is not there"
        yield consumer
    finally:
        await consumer.stop()

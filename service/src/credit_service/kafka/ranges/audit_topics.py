"""The topics of a reconciliation: the incoming ones up to the stored offsets, and all published records."""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime

from credit_contracts.topics import INCOMING_TOPICS
from credit_service.application.ports import Skipped, TopicPartition
from credit_service.application.reconcile.ports import PublishedRecord, Span
from credit_service.application.record import Record
from credit_service.domain.event import Place
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.fetch.records import read_item
from credit_service.kafka.ranges.ranges import Bound, Range, RangeReader, range_reader

PUBLISHED_TOPICS = ("balance-changed", "insufficient-credits")
ID_HEADER = "ce_id"


@asynccontextmanager
async def open_topics(
    connection: KafkaConnection, stored: Mapping[TopicPartition, int], skipped: Skipped, start: Bound, end: Bound
) -> AsyncIterator["KafkaTopics"]:
    """The incoming topics from `start` to `end`, up to the `stored` offsets; published records from `start` on.

    `skipped` offsets are passed over if they cannot be read. An offset as `start` is one of the incoming topics:
    published records are then read from the beginning. Raises `TopicsUnknown` and the broker's errors.
    """
    names = [connection.topic(name) for name in INCOMING_TOPICS]
    async with (
        range_reader(connection) as incoming,
        range_reader(connection) as published,
        range_reader(connection, "read_uncommitted") as written,
    ):
        ranges = await incoming.ranges(names, start, end, stored, skipped)
        partitions = len(await incoming.partitions(names)) // len(names)
        since = start if isinstance(start, datetime) else None
        yield KafkaTopics(connection, incoming, published, written, ranges, partitions, since)


class KafkaTopics:
    """The application's `Topics`; see `open_topics`."""

    def __init__(
        self,
        connection: KafkaConnection,
        incoming: RangeReader,
        published: RangeReader,
        written: RangeReader,
        ranges: Sequence[Range],
        partitions: int,
        since: datetime | None,
    ) -> None:
        self.partitions = partitions
        self._connection = connection
        self._incoming = incoming
        self._published = published
        self._written = written
        self._since = since
        self._ranges: dict[int, list[Range]] = defaultdict(list)
        for one in ranges:
            self._ranges[one.number].append(one)
        self._published_ranges: dict[int, list[Range]] | None = None

    @property
    def messages(self) -> int:
        """About how many messages are to be read."""
        return sum(len(one) for ranges in self._ranges.values() for one in ranges)

    def spans(self, number: int) -> Sequence[Span]:
        """See `application.reconcile.ports.Topics`."""
        return [_span(one) for one in self._ranges[number]]

    async def incoming(self, number: int) -> AsyncGenerator[list[Record]]:
        """See `application.reconcile.ports.Topics`."""
        async with aclosing(self._incoming.read(self._ranges[number])) as portions:
            async for one, records in portions:
                event_type = self._connection.event_type(one.topic)
                yield [read_item(one.partition, event_type, item) for item in records]

    async def published_spans(self, number: int) -> Sequence[Span]:
        """See `application.reconcile.ports.Topics`."""
        return [_span(one) for one in await self._published_of(number)]

    async def published(self, number: int) -> AsyncGenerator[list[PublishedRecord]]:
        """See `application.reconcile.ports.Topics`."""
        async with aclosing(self._published.read(await self._published_of(number))) as portions:
            async for one, records in portions:
                yield [
                    PublishedRecord(
                        Place(one.topic, one.number, r.offset), _id_of(r.headers), r.key, r.value, r.timestamp
                    )
                    for r in records
                ]

    async def _published_of(self, number: int) -> list[Range]:
        """The ranges up to the written offsets: a commit is visible a moment after it was acknowledged."""
        if self._published_ranges is None:
            names = [self._connection.topic(name) for name in PUBLISHED_TOPICS]
            counts = len(await self._written.partitions(names)) / len(names)
            # With other partition counts an account has another number there, so all partitions are read.
            everywhere = counts != self.partitions
            found: dict[int, list[Range]] = defaultdict(list)
            for one in await self._written.ranges(names, self._since, None, None):
                for at in range(self.partitions) if everywhere else [one.number]:
                    found[at].append(one)
            self._published_ranges = found
        return self._published_ranges[number]


def _span(one: Range) -> Span:
    return Span(one.partition, one.first, one.end, one.lost_to_retention)


def _id_of(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    for name, value in headers:
        if name == ID_HEADER:
            return None if value is None else value.decode(errors="replace")
    return None
